"""Writes the code that lays the images of a task out in its buffer, with zeros around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.program.compiler.convolutions.planes import Planes, Slot
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.expressions import Expression
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of, vector

UNROLLED = 8  # vectors of a row that are copied one after the other
Read = Callable[[Axis, Axis, Axis, Sequence[Index]], Expression]


class Padder:
    """Fills the buffer of a task.

    Places are written in the order of memory, so that a vector may reach over the end of a row into
    zeros, and into what is written after it.

    Args:
        image: Gives the element at counters of images, groups and channels, and at places.
        extents: How many images, groups and channels there are.
        planes: How the buffer lies.
        builder: The function.
        memory: Where tensors lie.
        buffer: The buffer; ``clear`` writes the zeros before the first task.
    """

    def __init__(
        self,
        image: Read,
        extents: tuple[int, int, int],
        planes: Planes,
        builder: Builder,
        memory: Memory,
        buffer: Value,
    ) -> None:
        self.image = image
        self.extents = extents
        self.planes = planes
        self.b = builder
        self.buffer = buffer
        self.element = planes.geometry.element
        self.emitter = Emitter(builder, memory, planes.lanes)

    def clear(self) -> None:
        """Write zeros around the places that ``fill`` writes, up to the end of the buffer."""
        b, planes = self.b, self.planes
        channels, all_planes = planes.geometry.channels, planes.n_planes * planes.plane
        with b.loop(0, channels) as channel:
            start = b.mul(channel.index, b.i64(planes.channel))
            for number, slots in enumerate(planes.all_slots()):
                begin = b.add(start, b.i64(number * planes.plane))
                with b.loop(0, planes.images) as image:
                    at = b.add(begin, b.mul(image.index, b.i64(planes.strides[0])))
                    self._clear_around(0, slots, at)
                behind = planes.images * planes.strides[0]
                self._clear(begin, behind, planes.plane)
            self._clear(start, all_planes, planes.channel)
        self._clear(b.i64(0), channels * planes.channel, planes.size)

    def _clear_around(self, axis: int, slots: Sequence[Slot], at: Value) -> None:
        """Zeros in front of what lies inside along an axis, and behind it."""
        b, planes = self.b, self.planes
        size, stride = planes.strides[axis], planes.strides[axis + 1]
        first, last = planes.inside(axis, slots[axis])
        if axis == 0 and planes.is_banded:  # any row may be inside
            first, last = 0, size // stride
        self._clear(at, 0, first * stride)
        if axis < len(planes.geometry.lines) - 1:
            with b.loop(first, last) as row:
                start = b.add(at, b.mul(row.index, b.i64(stride)))
                self._clear_around(axis + 1, slots, start)
        self._clear(at, last * stride, size)

    def _clear(self, at: Value, first: int, last: int) -> None:
        if first < last:
            pointer = self.b.offset(self.buffer, self.b.add(at, self.b.i64(first)), self.element)
            clear(self.b, pointer, self.element, self.planes.lanes, last - first)

    def fill(self, group: Value, image: Value, band: Value, channel: Value) -> None:
        """Write the images of a task.

        Args:
            group: Number of the group of channels.
            image: Number of the first image.
            band: Output from which the band of rows begins.
            channel: Number of the first channel.
        """
        b, planes, geometry = self.b, self.planes, self.planes.geometry
        axes = [Axis(n) for n in self.extents]
        self.emitter.enter(axes[1], group)
        with b.loop(0, geometry.channels) as loop:
            self.emitter.enter(axes[2], b.add(channel, loop.index))
            start = b.mul(loop.index, b.i64(planes.channel))
            for number, slots in enumerate(planes.all_slots()):
                begin = b.add(start, b.i64(number * planes.plane))
                self._plane(axes, slots, image, band, begin)
            self.emitter.leave(axes[2])
        self.emitter.leave(axes[1])

    def _plane(
        self, axes: Sequence[Axis], slots: Sequence[Slot], image: Value, band: Value, start: Value
    ) -> None:
        b, planes, geometry = self.b, self.planes, self.planes.geometry
        lines = geometry.lines
        counters = [Axis(line.in_plane(p)) for line, (p, _) in zip(lines, slots, strict=True)]
        if any(axis.extent == 0 for axis in counters):
            return
        places: list[Index] = [
            axis_index(axis) * line.stride + p
            for axis, line, (p, _) in zip(counters, lines, slots, strict=True)
        ]
        value = self.image(axes[0], axes[1], axes[2], places)

        def row(at: Value) -> None:
            self._row(value, counters[-1], slots[-1], at)

        body: Callable[[Value], None] = row
        for axis in reversed(range(len(lines) - 1)):
            body = self._rows(axis, slots[axis], counters[axis], band, value, body)
        if len(lines) == 1 and planes.is_banded:
            raise ValueError("a line of pixels has no bands of rows")
        with b.loop(0, planes.images) as number:
            self.emitter.enter(axes[0], b.add(image, number.index))
            self.emitter.hoist([value], frozenset())
            body(b.add(start, b.mul(number.index, b.i64(planes.strides[0]))))
            self.emitter.leave(axes[0])

    def _rows(
        self,
        axis: int,
        slot: Slot,
        counter: Axis,
        band: Value,
        value: Expression,
        body: Callable[[Value], None],
    ) -> Callable[[Value], None]:
        """A loop over the rows along one axis around ``body``, which gets the row's place."""
        b, planes = self.b, self.planes
        low = slot[1]
        stride = planes.strides[axis + 1]

        def enter(j: Value, source: Value, at: Value) -> None:
            self.emitter.enter(counter, source)
            self.emitter.hoist([value], frozenset())
            body(b.add(at, b.mul(j, b.i64(stride))))
            self.emitter.leave(counter)

        def whole(at: Value) -> None:
            first, last = planes.inside(axis, slot)
            with b.loop(first, last) as j:
                enter(j.index, b.add(j.index, b.i64(low)), at)

        def banded(at: Value) -> None:
            with b.loop(0, planes.length(axis)) as j:
                source = b.add(b.add(j.index, band), b.i64(low))
                inside = b.compare("ult", source, b.i64(counter.extent))
                outside = b.binary("xor", inside, b.constant("i1", True))
                with b.when(inside):
                    enter(j.index, source, at)
                with b.when(outside):
                    place = b.add(at, b.mul(j.index, b.i64(stride)))
                    pointer = b.offset(self.buffer, place, self.element)
                    clear(b, pointer, self.element, planes.lanes, stride)

        return banded if axis == 0 and planes.is_banded else whole

    def _row(self, value: Expression, counter: Axis, slot: Slot, at: Value) -> None:
        """Copy one row; the last vector reaches back where the row does not end with one."""
        b, planes = self.b, self.planes
        low = slot[1]
        first, last = planes.inside(len(planes.geometry.lines) - 1, slot)
        size, lanes = last - first, planes.lanes
        if size <= 0:
            return
        whole = size // lanes * lanes
        if whole <= UNROLLED * lanes:
            for place in range(first, first + whole, lanes):
                self._copy(value, counter, b.i64(place), low, at, lanes)
        else:
            with b.loop(first, first + whole, lanes) as j:
                self._copy(value, counter, j.index, low, at, lanes)
        if size % lanes:
            begin = last - lanes if whole else first
            self._copy(value, counter, b.i64(begin), low, at, min(size, lanes))

    def _copy(
        self, value: Expression, counter: Axis, j: Value, low: int, at: Value, active: int
    ) -> None:
        b, lanes = self.b, self.planes.lanes
        emitter = self.emitter
        emitter.active = active
        emitter.enter(counter, b.add(j, b.i64(low)), vectorised=lanes > 1)
        x = emitter.vector(value)
        if active < lanes:
            mask = b.first_lanes(active, lanes)
            x = b.select(mask, x, b.zero(x.type))
        pointer = b.offset(self.buffer, b.add(at, j), self.element)
        b.store(x, pointer)
        emitter.leave(counter)
        emitter.active = lanes


def clear(b: Builder, pointer: Value, element: str, lanes: int, size: int) -> None:
    """Write zeros to ``size`` elements, rounded up to whole vectors."""
    zero = b.zero(vector(element, lanes))
    if lanes_of(zero.type) == 1:
        zero = b.constant(element, 0.0)
    if size <= UNROLLED * lanes:
        for first in range(0, size, lanes):
            b.store(zero, b.offset(pointer, first, element))
        return
    with b.loop(0, -(-size // lanes) * lanes, lanes) as place:
        b.store(zero, b.offset(pointer, place.index, element))
