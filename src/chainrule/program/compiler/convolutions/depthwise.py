"""Weight gradients of convolutions with few channels in a group: pixels in the lanes.

Every place of the kernel has a vector of sums: cotangents times inputs that lie as far behind as
the place says. The lanes are added up at the very end.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Geometry, Line
from chainrule.program.compiler.convolutions.operands import Convolution, Epilogue
from chainrule.program.compiler.convolutions.padding import Padder, clear
from chainrule.program.compiler.convolutions.pixels import vectors_of_row
from chainrule.program.compiler.convolutions.planes import Planes
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.expressions import Expression
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import size_of, vector
from chainrule.program.compiler.products.dot import add_lanes
from chainrule.program.compiler.products.product import quotient, remainder
from chainrule.program.compiler.products.tiling import frozen
from chainrule.program.compiler.target import Target

MOST_PAIRS = 2  # of an input and an output channel in a group; with more, channels fill lanes
MOST_TAPS = 64
TASKS = 16


@dataclass(frozen=True)
class TapSums:
    """How a weight gradient with few channels in a group is computed.

    Args:
        geometry: The gradient as a convolution: "batch" counts the input channels of a group,
            "channels" images, the kernel is as large as an image of the cotangent.
        lanes: Elements of a vector.
        registers: Vectors of sums at a time.
        parts: Parts of the images, each with sums of its own, added in order afterwards.
        blocks: Blocks of groups, each a task of every part.
    """

    geometry: Geometry
    lanes: int
    registers: int
    parts: int
    blocks: int

    @functools.cached_property
    def planes(self) -> Planes:
        """How the padded input of one channel lies: as the convolution itself would lay it out."""
        g = self.geometry
        lines = tuple(
            Line(x.source, x.out, x.kernel, x.dilation, x.before, x.stride) for x in g.lines
        )
        inner = Geometry(g.channels, g.groups, 1, 1, lines, g.element)
        return Planes(inner, 1, lines[0].count, self.lanes)

    @property
    def vectors(self) -> int:
        """Vectors that cover all pixels of the cotangent, with the gaps between rows."""
        return vectors_of_row(self.planes, self.lanes, True)

    @property
    def offsets(self) -> list[int]:
        """Where every place of the kernel reads."""
        first = (0,) * len(self.geometry.lines)
        leads, columns = self.planes.lead_offsets(first), self.planes.column_offsets(first)
        return [lead + column for lead in leads for column in columns]

    @property
    def pair_sums(self) -> int:
        """Elements of the sums of a pair of channels."""
        return len(self.offsets) * self.lanes

    @property
    def part_sums(self) -> int:
        """Elements of one part's sums: [group][input][output][place][lane]."""
        g = self.geometry
        return g.groups * g.batch * g.outs * self.pair_sums

    @property
    def tasks(self) -> int:
        """Tasks of the sums."""
        return self.parts * self.blocks


def plan_taps(geometry: Geometry, target: Target) -> TapSums | None:
    """The plan; None if channels had better fill the lanes, or an image is too large."""
    taps = math.prod(line.out for line in geometry.lines)
    many = geometry.groups == 1 or geometry.batch * geometry.outs > MOST_PAIRS
    if many or taps > MOST_TAPS or any(line.spread > 1 for line in geometry.lines):
        return None
    size = size_of(geometry.element)
    parts = min(TASKS, geometry.channels)
    blocks = min(geometry.groups, -(-TASKS // parts))
    registers = target.registers - 3 - (not target.has_fma)
    plan = TapSums(geometry, target.lanes(size), registers, parts, blocks)
    room = (plan.planes.size + plan.vectors * plan.lanes) * size
    return plan if room <= target.level2 // 2 else None


class TapEmitter:
    """Emits both kernels.

    Args:
        convolution: What is computed.
        plan: How.
        epilogue: What is made of the sums.
        partial: Memory of the sums of all parts.
    """

    def __init__(
        self, convolution: Convolution, plan: TapSums, epilogue: Epilogue, partial: Tensor
    ) -> None:
        self.convolution = convolution
        self.plan = plan
        self.epilogue = epilogue
        self.partial = partial

    @property
    def result_tasks(self) -> int:
        """Tasks of the second kernel: output channels."""
        return self.plan.geometry.groups * self.plan.geometry.outs

    def emit_parts(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks ``begin`` to ``end`` of the sums."""
        plan, g = self.plan, self.plan.geometry
        self.b, self.memory = b, memory
        size = plan.vectors * plan.lanes + plan.lanes
        image, pixels = b.stack(g.element, plan.planes.size), b.stack(g.element, size)
        extents = (g.channels, g.groups, g.batch)
        padder = Padder(self._input, extents, plan.planes, b, memory, image)
        padder.clear()
        clear(b, pixels, g.element, plan.lanes, size)
        self.emitter = Emitter(b, memory, plan.lanes)
        with b.loop(begin, end) as task:
            part, block = (
                quotient(b, task.index, plan.blocks),
                remainder(b, task.index, plan.blocks),
            )
            groups = self._share(block, g.groups, plan.blocks)
            self._clear(part, *groups)
            with b.loop(*self._share(part, g.channels, plan.parts)) as n, b.loop(*groups) as group:
                for channel in range(g.batch):
                    padder.emitter.push()
                    padder.fill(group.index, n.index, b.i64(0), b.i64(channel))
                    padder.emitter.pop()
                    for out in range(g.outs):
                        self._lay_out(group.index, out, n.index, pixels)
                        self._add(image, pixels, self._sums(part, group.index, channel, out))

    def _share(self, number: Value, count: int, shares: int) -> tuple[Value, Value]:
        b = self.b
        after = b.mul(b.add(number, b.i64(1)), b.i64(count))
        return quotient(b, b.mul(number, b.i64(count)), shares), quotient(b, after, shares)

    def _input(
        self, image: Axis, group: Axis, channel: Axis, places: Sequence[Index]
    ) -> Expression:
        return self.convolution.image(channel, group, image, places)

    def _sums(self, part: Value, group: Value, channel: int, out: int) -> Value:
        """Address of the sums of a pair of channels."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        place = b.add(b.mul(part, b.i64(g.groups)), group)
        place = b.mul(place, b.i64(g.batch * g.outs * plan.pair_sums))
        place = b.add(place, b.i64((channel * g.outs + out) * plan.pair_sums))
        return b.offset(self.memory.pointers(self.partial), place, g.element)

    def _clear(self, part: Value, first: Value, last: Value) -> None:
        b, plan, g = self.b, self.plan, self.plan.geometry
        size = g.batch * g.outs * plan.pair_sums
        with b.loop(first, last) as group:
            clear(b, self._sums(part, group.index, 0, 0), g.element, plan.lanes, size)

    # -- cotangents -------------------------------------------------------------------------------

    def _lay_out(self, group: Value, out: int, image: Value, pixels: Value) -> None:
        """Write an image of the cotangent as its input lies: gaps between rows stay zero."""
        g, em = self.plan.geometry, self.emitter
        axes = [Axis(g.groups), Axis(g.outs), Axis(g.channels)]
        places = [Axis(line.kernel) for line in g.lines]
        value = self.convolution.weight(
            axes[0], axes[1], axes[2], [axis_index(axis) for axis in places]
        )
        em.push()
        for axis, counter in zip(axes, (group, self.b.i64(out), image), strict=True):
            em.enter(axis, counter)
        self._rows(0, value, places, self.b.i64(0), pixels)
        for axis in reversed(axes):
            em.leave(axis)
        em.pop()

    def _rows(
        self, axis: int, value: Expression, places: Sequence[Axis], at: Value, pixels: Value
    ) -> None:
        b, em = self.b, self.emitter
        if axis == len(places) - 1:
            self._row(value, places[axis], at, pixels)
            return
        with b.loop(0, places[axis].extent) as i:
            em.enter(places[axis], i.index)
            em.hoist([value], frozenset())
            step = b.mul(i.index, b.i64(self.plan.planes.strides[axis + 1]))
            self._rows(axis + 1, value, places, b.add(at, step), pixels)
            em.leave(places[axis])

    def _row(self, value: Expression, column: Axis, at: Value, pixels: Value) -> None:
        b, em, lanes = self.b, self.emitter, self.plan.lanes

        def copy(x: Value, active: int) -> None:
            em.active = active
            em.enter(column, x, vectorised=lanes > 1)
            found = em.vector(value)
            if active < lanes:
                found = b.select(b.first_lanes(active, lanes), found, b.zero(found.type))
            b.store(found, b.offset(pixels, b.add(at, x), self.plan.geometry.element))
            em.leave(column)
            em.active = lanes

        whole = column.extent // lanes * lanes
        if whole:
            with b.loop(0, whole, lanes) as x:
                copy(x.index, lanes)
        if column.extent % lanes:
            copy(b.i64(column.extent - lanes if whole else 0), min(lanes, column.extent))

    # -- sums -------------------------------------------------------------------------------------

    def _add(self, image: Value, pixels: Value, sums: Value) -> None:
        """Add the products of one image to the sums, a few places of the kernel at a time."""
        plan = self.plan
        for first in range(0, len(plan.offsets), plan.registers):
            self._add_some(image, pixels, sums, first)

    def _add_some(self, image: Value, pixels: Value, sums: Value, first: int) -> None:
        b, plan, element = self.b, self.plan, self.plan.geometry.element
        type_ = vector(element, plan.lanes)
        offsets = plan.offsets[first : first + plan.registers]
        pointers = [
            b.offset(sums, (first + number) * plan.lanes, element) for number in range(len(offsets))
        ]
        state = [image, pixels, *(b.load(type_, pointer) for pointer in pointers)]
        with b.loop(0, plan.vectors, 1, state) as loop:
            seen, at, *totals = loop.carried
            y = b.load(type_, at)
            fresh = [
                b.fma(y, b.load(type_, b.offset(seen, offset, element)), total)
                for offset, total in zip(offsets, totals, strict=True)
            ]
            moved = [frozen(b, b.offset(x, plan.lanes, element)) for x in (seen, at)]
            loop.carry(*moved, *fresh)
        for pointer, total in zip(pointers, loop.results[2:], strict=True):
            b.store(total, pointer)

    def emit_result(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Add up parts and lanes, and write the results of output channels ``begin`` to ``end``."""
        plan, g = self.plan, self.plan.geometry
        self.b, self.memory = b, memory
        em, axes = Emitter(b, memory, 1), self.epilogue.axes
        em.named = self.epilogue.values
        with b.loop(begin, end) as task:
            group, out = quotient(b, task.index, g.outs), remainder(b, task.index, g.outs)
            em.enter(axes[1], task.index)
            with b.loop(0, g.batch) as channel:
                em.enter(axes[0], channel.index)
                pair = b.add(b.mul(group, b.i64(g.batch)), channel.index)
                pair = b.add(b.mul(pair, b.i64(g.outs)), out)
                with b.loop(0, len(plan.offsets)) as place:
                    left = place.index
                    counters: list[Value] = []
                    for line in reversed(g.lines[1:]):
                        counters.insert(0, remainder(b, left, line.out))
                        left = quotient(b, left, line.out)
                    for axis, counter in zip(axes[2:], [left, *counters], strict=True):
                        em.enter(axis, counter)
                    number = b.add(b.mul(pair, b.i64(len(plan.offsets))), place.index)
                    self.epilogue.write(em, self._total(b.mul(number, b.i64(plan.lanes))))
                    for axis in reversed(axes[2:]):
                        em.leave(axis)
                em.leave(axes[0])
            em.leave(axes[1])

    def _total(self, at: Value) -> Value:
        """The sum of all parts, and then of the lanes."""
        b, plan, element = self.b, self.plan, self.plan.geometry.element
        type_, base = vector(element, plan.lanes), self.memory.pointers(self.partial)
        total = b.load(type_, b.offset(base, at, element))
        for part in range(1, plan.parts):
            step = b.add(at, b.i64(part * plan.part_sums))
            total = b.add(total, b.load(type_, b.offset(base, step, element)))
        return total if plan.lanes == 1 else b.extract(add_lanes(b, [total]), 0)
