"""Products in parts: of joined operands, and of which only slices are read."""

from __future__ import annotations

from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.passes.lifting import Lifter


def _cut(lifter: Lifter, x: Tensor, axis: int, begin: int, end: int, like: Instruction) -> Tensor:
    """Places ``begin`` to ``end`` of one axis."""
    starts = tuple(begin if a == axis else 0 for a in range(len(x.shape)))
    stops = tuple(end if a == axis else n for a, n in enumerate(x.shape))
    ones = (1,) * len(x.shape)
    return lifter.emit("slice", x, origin=like.origin, starts=starts, stops=stops, strides=ones)


def product_of_parts(x: Instruction, loop: Lifter) -> list[Instruction] | None:
    """x·w of an x joined along the contracted axis, as a sum; None if it is none."""
    if len(x.attributes["contract"][0]) != 1:
        return None
    for side in (0, 1):
        joined = x.operands[side].producer
        axis = x.attributes["contract"][side][0]
        if joined is None or joined.op.name != "concatenate":
            continue
        if joined.attributes["axis"] % len(x.operands[side].shape) != axis:
            continue
        if len({loop.is_free(part) for part in joined.operands}) != 2:
            continue
        writer = Lifter(1, {})
        total: Tensor | None = None
        begin = 0
        for part in joined.operands:
            end = begin + part.shape[axis]
            own = x.attributes["contract"][1 - side][0]
            other = _cut(writer, x.operands[1 - side], own, begin, end, x)
            pair = (part, other) if side == 0 else (other, part)
            value = writer.emit("dot_general", *pair, origin=x.origin, **x.attributes)
            if total is not None:
                value = writer.emit("add", total, value, origin=x.origin)
            total, begin = value, end
        return writer.made
    return None


def part_of_product(x: Instruction, reader: Instruction) -> list[Instruction] | None:
    """A slice of a product along one free axis of an operand; None if it is none."""
    starts, stops = reader.attributes["starts"], reader.attributes["stops"]
    whole = x.result.shape
    cut = [a for a, n in enumerate(whole) if (starts[a], stops[a]) != (0, n)]
    if len(cut) != 1 or any(s != 1 for s in reader.attributes["strides"]):
        return None
    (place,) = cut
    axes: list[tuple[int, int]] = [(0, axis) for axis in x.attributes["batch"][0]]
    if place < len(axes):
        return None
    for side, operand in enumerate(x.operands):
        taken = {*x.attributes["contract"][side], *x.attributes["batch"][side]}
        axes += [(side, axis) for axis in range(len(operand.shape)) if axis not in taken]
    side, axis = axes[place]
    writer = Lifter(1, {})
    operands = list(x.operands)
    operands[side] = _cut(writer, operands[side], axis, starts[place], stops[place], x)
    writer.emit("dot_general", *operands, origin=x.origin, **x.attributes)
    return writer.made
