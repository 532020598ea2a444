"""Sliding windows: where their places lie in the input, and which windows cover a place.

Window j along an axis sees the places ``j · stride + t · dilation`` of the padded input. Reading
windows is movement. Adding them up again is written as a gather, so that every place is summed by
one thread in one order: a place asks which windows cover it.
"""

from __future__ import annotations

from chainrule.program.compiler.expressions import Apply, Constant, Expression, Within, both
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.instructions import Instruction
from chainrule.program.compiler.lowering.elements import Indices, Read, lowers
from chainrule.program.compiler.lowering.reductions import Fold, accumulator, cast, folds

Place = tuple[Index, Expression | None]


def within(index: Index, extent: int) -> Expression | None:
    """The condition that ``index`` lies in 0 to ``extent - 1``; None if it always does."""
    low, high = index.range
    return None if low >= 0 and high < extent else Within(index, 0, extent)


def spread_place(position: Index, extent: int, before: int, spread: int) -> Place:
    """The input's place at a position of the padded input, and when there is one.

    Args:
        position: Along one axis of the input spread out and padded.
        extent: Size of the input along this axis.
        before: Places added in front; negative: cut off.
        spread: Distance between the input's elements; at the places between is nothing.
    """
    shifted = position - before
    condition: Expression | None = None
    if spread > 1:
        phase = shifted % spread
        if phase.as_integer() != 0:
            condition = Within(phase, 0, 1)
        shifted = shifted // spread
    return shifted, both(condition, within(shifted, extent))


@lowers("windows")
def _windows(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    operand = x.operands[0]
    window = x.attributes["window"]
    count = len(window)
    lead = len(operand.shape) - count
    source: list[Index] = []
    condition: Expression | None = None
    for axis in range(count):
        seen = indices[lead + axis] * x.attributes["stride"][axis]
        seen = seen + indices[lead + count + axis] * x.attributes["dilation"][axis]
        before = x.attributes["padding"][axis][0]
        place, inside = spread_place(seen, operand.shape[lead + axis], before, 1)
        source.append(place)
        condition = both(condition, inside)
    if condition is None:
        return read(operand, (*indices[:lead], *source))
    fill = Constant(x.attributes["fill"], x.result.dtype)
    value = read.where(condition)(operand, (*indices[:lead], *source))
    return Apply("where", (condition, value, fill), x.result.dtype)


@folds("fold_windows")
def _fold_windows(x: Instruction, indices: Indices, read: Read) -> Fold:
    operand = x.operands[0]
    count = len(x.attributes["window"])
    lead = len(indices) - count
    over: list[Axis] = []
    windows: list[Index] = []
    places: list[Index] = []
    condition: Expression | None = None
    for axis in range(count):
        position = indices[lead + axis] + x.attributes["padding"][axis][0]
        cover = _Cover(
            operand.shape[lead + axis],
            x.attributes["window"][axis],
            x.attributes["stride"][axis],
            x.attributes["dilation"][axis],
        )
        turn = Axis(cover.turns, f"r{axis}")
        window, place, inside = cover.at(position, axis_index(turn))
        over.append(turn)
        windows.append(window)
        places.append(place)
        condition = both(condition, inside)
    wide = accumulator(x.result.dtype)
    source = (*indices[:lead], *windows, *places)
    if condition is None:
        return Fold("sum", tuple(over), cast(read(operand, source), wide), wide)
    value = read.where(condition)(operand, source)
    value = Apply("where", (condition, value, Constant(0, value.dtype)), value.dtype)
    return Fold("sum", tuple(over), cast(value, wide), wide)


class _Cover:
    """The windows along one axis that cover a position of the padded input, counted by a turn.

    Args:
        windows: Number of windows along the axis.
        size: Places that a window sees.
        stride: Distance between windows.
        dilation: Distance between the places of a window.
    """

    def __init__(self, windows: int, size: int, stride: int, dilation: int) -> None:
        self.windows = windows
        self.size = size
        self.stride = stride
        self.dilation = dilation
        dense = dilation == 1
        # with neither stride nor dilation, as many windows as places in one see a position
        covering = -(-size // stride) if dense or stride == 1 else size
        self.by_window = windows < covering
        self.turns = windows if self.by_window else covering

    def at(self, position: Index, turn: Index) -> tuple[Index, Index, Expression | None]:
        """Window, place in it, and the condition that both exist and lie at ``position``."""
        condition: Expression | None = None
        if self.by_window:
            window = turn
            place, condition = self._divided(position - turn * self.stride, self.dilation)
        elif self.dilation == 1 and self.stride > 1:
            window = position // self.stride - turn
            place = position % self.stride + turn * self.stride
        else:
            place = turn
            window, condition = self._divided(position - turn * self.dilation, self.stride)
        condition = both(condition, within(window, self.windows))
        return window, place, both(condition, within(place, self.size))

    def _divided(self, distance: Index, step: int) -> Place:
        """``distance / step``, and the condition that nothing is left over."""
        if step == 1:
            return distance, None
        phase = distance % step
        if phase.as_integer() == 0:
            return distance // step, None
        return distance // step, Within(phase, 0, 1)
