"""Convolution as a fold over input channels and the kernel's places.

Places in the padding, or between elements that are spread out, count as 0; they are not read.
"""

from __future__ import annotations

from chainrule.program.compiler.expressions import Apply, Constant, Expression, both
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.instructions import Instruction
from chainrule.program.compiler.lowering.elements import Indices, Read
from chainrule.program.compiler.lowering.reductions import Fold, accumulator, cast, folds
from chainrule.program.compiler.lowering.windows import spread_place


@folds("convolution")
def _convolution(x: Instruction, indices: Indices, read: Read) -> Fold:
    image, weight = x.operands
    # the channel turns fastest: what lies in the padding is found out once for all channels
    over = tuple(Axis(n, f"k{i}") for i, n in enumerate((*weight.shape[2:], weight.shape[1])))
    *taps, channel = (axis_index(axis) for axis in over)
    batch, out, *positions = indices
    group = out // max(weight.shape[0] // x.attributes["groups"], 1)
    source: list[Index] = [batch, group * weight.shape[1] + channel]
    condition: Expression | None = None
    for axis, (position, tap) in enumerate(zip(positions, taps, strict=True)):
        seen = position * x.attributes["stride"][axis]
        seen = seen + tap * x.attributes["kernel_dilation"][axis]
        place, inside = spread_place(
            seen,
            image.shape[2 + axis],
            x.attributes["padding"][axis][0],
            x.attributes["input_dilation"][axis],
        )
        source.append(place)
        condition = both(condition, inside)
    wide = accumulator(x.result.dtype)
    value = cast(_read_where(read, x, tuple(source), condition), wide)
    factor = cast(read(weight, (out, channel, *taps)), wide)
    return Fold("sum", over, Apply("multiply", (value, factor), wide), wide)


def _read_where(
    read: Read, x: Instruction, source: Indices, condition: Expression | None
) -> Expression:
    image = x.operands[0]
    if condition is None:
        return read(image, source)
    value = read.where(condition)(image, source)
    return Apply("where", (condition, value, Constant(0, image.dtype)), image.dtype)
