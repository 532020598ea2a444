"""Contractions: what stands around a matrix product is said by the product itself.

Reason: ``dot_general`` names the axes that it contracts, so a transposed operand or result costs
nothing there, while a transposition of its own would move all elements; and an operand that is
copied along a batch needs no batch.

The same products are added; a BLAS may add them in another order.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.rewriting import Rewriter, copied, made_by, rewrite, table

Axes = tuple[int, ...]


def contractions(block: Block) -> bool:
    """Absorb transpositions and copies into the block's contractions.

    Returns:
        Whether anything changed.
    """
    return rewrite(block, _RULES)


def free_axes(x: Tensor, *taken: Axes) -> Axes:
    """The axes of ``x`` that are neither contracted nor batch axes."""
    used = {axis for axes in taken for axis in axes}
    return tuple(axis for axis in range(len(x.shape)) if axis not in used)


def _transposed_operand(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """Read a transposed operand as it was, if that leaves the order of its free axes."""
    operands = list(instruction.operands)
    contract, batch = (
        list(instruction.attributes["contract"]),
        list(instruction.attributes["batch"]),
    )
    changed = False
    for side, x in enumerate(operands):
        inner = made_by(x, "transpose")
        if inner is None:
            continue
        order = inner.attributes["axes"]
        free = [order[a] for a in free_axes(x, contract[side], batch[side])]
        if free != sorted(free):
            continue
        if _follow_each_other(contract[side]) and not _follow_each_other(
            [order[a] for a in contract[side]]
        ):
            continue  # several axes that are one in memory would have to be read as two
        changed = True
        operands[side] = inner.operands[0]
        contract[side] = tuple(order[a] for a in contract[side])
        batch[side] = tuple(order[a] for a in batch[side])
    if not changed:
        return None
    return walk.emit("dot_general", *operands, contract=tuple(contract), batch=tuple(batch))


def _follow_each_other(axes: Sequence[int]) -> bool:
    return all(b == a + 1 for a, b in itertools.pairwise(axes))


def _transposed_result(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """(x·y)ᵀ = yᵀ·xᵀ: swap the operands, and name batch axes in another order."""
    inner = made_by(instruction.operands[0], "dot_general")
    if inner is None or walk.uses(instruction.operands[0]) > 1:
        return None
    x, y = inner.operands
    contract, batch = inner.attributes["contract"], inner.attributes["batch"]
    axes = instruction.attributes["axes"]
    n = len(batch[0])
    n_x = len(free_axes(x, contract[0], batch[0]))
    lead, rest = axes[:n], axes[n:]
    of_x, of_y = tuple(range(n, n + n_x)), tuple(range(n + n_x, len(axes)))
    if sorted(lead) != list(range(n)) or rest not in (of_x + of_y, of_y + of_x):
        return None
    batch = tuple(tuple(side[a] for a in lead) for side in batch)
    if rest == of_x + of_y:
        return walk.emit("dot_general", x, y, contract=contract, batch=batch)
    return walk.emit("dot_general", y, x, contract=contract[::-1], batch=batch[::-1])


def _copied_batch(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """An operand that is the same for all of a batch: the other's batch axis is a free one."""
    contract, batch = instruction.attributes["contract"], instruction.attributes["batch"]
    if not batch[0]:
        return None
    for side in (0, 1):
        found = _drop_batch(walk, instruction.operands, contract, batch, side)
        if found is not None:
            return found
    return None


def _drop_batch(
    walk: Rewriter,
    operands: Sequence[Tensor],
    contract: tuple[Axes, Axes],
    batch: tuple[Axes, Axes],
    side: int,
) -> Tensor | None:
    """Free the last batch axis if operand ``side`` is copied along it and the result is the same.

    The freed axis must come first among the free axes of the result: those of the first operand.
    """
    copies, other = operands[side], operands[1 - side]
    source = copied(copies)
    axis = batch[side][-1]
    if source is None or not _is_copied(source, copies, axis):
        return None
    freed = batch[1 - side][-1]
    others_free = free_axes(other, contract[1 - side], batch[1 - side])
    copies_free = free_axes(copies, contract[side], batch[side])
    if any(freed > a for a in others_free) or (side == 0 and copies_free):
        return None
    shape = tuple(n for a, n in enumerate(copies.shape) if a != axis)
    missing = len(copies.shape) - len(source.shape)
    own = tuple(n for a, n in enumerate(source.shape, missing) if a != axis)
    narrow = walk.emit("broadcast_to", walk.emit("reshape", source, shape=own), shape=shape)

    def moved(axes: Axes) -> Axes:
        return tuple(a - (a > axis) for a in axes)

    new_operands, new_contract, new_batch = list(operands), list(contract), list(batch)
    new_operands[side] = narrow
    new_contract[side] = moved(contract[side])
    new_batch[side] = moved(batch[side][:-1])
    new_batch[1 - side] = batch[1 - side][:-1]
    return walk.emit(
        "dot_general", *new_operands, contract=tuple(new_contract), batch=tuple(new_batch)
    )


def _is_copied(source: Tensor, copies: Tensor, axis: int) -> bool:
    missing = len(copies.shape) - len(source.shape)
    return axis < missing or (source.shape[axis - missing] == 1 and copies.shape[axis] != 1)


_RULES = table(
    ("dot_general", _transposed_operand),
    ("dot_general", _copied_batch),
    ("transpose", _transposed_result),
)
