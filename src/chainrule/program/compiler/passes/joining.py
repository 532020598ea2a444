"""Joining: a sum of parts that lie side by side is those parts, joined.

Reason: the derivative of reading blocks of an array (the gates of a recurrent cell) pads each
block's derivative with zeros to the whole and adds them up; joined, each part is written where it
belongs.

Exact, but for the sign of zeros: −0.0 + 0.0 is 0.0, and the part keeps its −0.0.
"""

from __future__ import annotations

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.rewriting import Rewriter, made_by, rewrite, table


def joining(block: Block) -> bool:
    """Join padded parts that add up to a whole, in the block and its bodies.

    Returns:
        Whether anything changed.
    """
    return rewrite(block, _RULES)


def _sum_of_parts(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    leaves = _leaves(walk, instruction)
    if leaves is None:
        return None
    shape = instruction.result.shape
    axes = {
        axis
        for x in leaves
        for axis, (n, whole) in enumerate(zip(x.operands[0].shape, shape, strict=True))
        if n != whole
    }
    if len(axes) != 1:
        return None
    (axis,) = axes
    leaves.sort(key=lambda x: x.attributes["low"][axis])
    end = 0
    for x in leaves:
        if x.attributes["low"][axis] != end or any(x.attributes["interior"]):
            return None
        end += x.operands[0].shape[axis]
    if end != shape[axis]:
        return None
    return walk.emit("concatenate", *(x.operands[0] for x in leaves), axis=axis)


def _leaves(walk: Rewriter, instruction: Instruction) -> list[Instruction] | None:
    """The paddings that a tree of additions adds up; None if there is anything else."""
    found: list[Instruction] = []
    pending = list(instruction.operands)
    while pending:
        x = pending.pop()
        padded, inner = made_by(x, "pad"), made_by(x, "add")
        if padded is not None:
            found.append(padded)
        elif inner is not None and walk.uses(x) == 1:
            pending += inner.operands
        else:
            return None
    return found


_RULES = table(("add", _sum_of_parts))
