"""How instructions read memory: at which indices, and what they fold over."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.program.compiler.expressions import Expression, Load
from chainrule.program.compiler.indices import Axis, axis_index
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS, Indices, loads
from chainrule.program.compiler.lowering.reductions import FOLDS, REDUCTIONS
from chainrule.program.compiler.reading import Reader


class Reads:
    """How an instruction reads: the axes of its result, those it folds over, and its loads.

    Of a cumulative fold's axes, ``running`` is the one that it runs along.
    """

    def __init__(
        self,
        axes: tuple[Axis, ...],
        over: tuple[Axis, ...],
        found: list[Load],
        running: Axis | None = None,
    ) -> None:
        self.axes = axes
        self.over = over
        self.loads = found
        self.running = running


def read_pattern(instruction: Instruction, is_leaf: Callable[[Tensor], bool]) -> Reads:
    """Lower the instruction on fresh axes and list its loads."""
    reader = Reader(is_leaf)
    shape = instruction.results[0].shape
    axes = tuple(Axis(n, f"d{i}") for i, n in enumerate(shape))
    indices: Indices = tuple(axis_index(a) for a in axes)
    if instruction.op.name in FOLDS:
        fold = FOLDS[instruction.op.name](instruction, indices, reader)
        running = axes[instruction.attributes["axis"]] if fold.kind == "cumsum" else None
        return Reads(axes, fold.over, loads(fold.value), running)
    expression: Expression = ELEMENTS[instruction.op.name](instruction, 0, indices, reader)
    return Reads(axes, (), loads(expression))


def work_of(instruction: Instruction) -> int:
    """Elements that an instruction makes or folds."""
    made = max(r.size for r in instruction.results)
    if instruction.op.name in REDUCTIONS:
        return max(made, instruction.operands[0].size)
    return made
