"""Emission of weight gradients: the sums of every part, then all parts and what follows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.program.compiler.convolutions.asking import FITS_CACHE
from chainrule.program.compiler.convolutions.correlations import Correlation, CorrelationWriter
from chainrule.program.compiler.convolutions.operands import Convolution, Epilogue
from chainrule.program.compiler.convolutions.padding import Padder, clear
from chainrule.program.compiler.convolutions.tiles import tile_of
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.expressions import Expression, Load
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import size_of, vector
from chainrule.program.compiler.products.packing import transpose
from chainrule.program.compiler.products.product import minimum, quotient, remainder


class CorrelationEmitter:
    """Emits both kernels of a weight gradient.

    Args:
        convolution: What is computed.
        plan: How.
        epilogue: What is made of the sums.
        partial: Memory of the sums of all parts.
    """

    def __init__(
        self, convolution: Convolution, plan: Correlation, epilogue: Epilogue, partial: Tensor
    ) -> None:
        self.convolution = convolution
        self.plan = plan
        self.epilogue = epilogue
        self.partial = partial

    # -- the sums of a part -----------------------------------------------------------------------

    def emit_parts(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks ``begin`` to ``end`` of the sums."""
        plan, g = self.plan, self.plan.geometry
        self.b, self.memory = b, memory
        image = b.stack(g.element, plan.planes.size)
        turned = b.stack(g.element, plan.turned_size + plan.lanes)
        padder = Padder(self._input, (g.channels, g.groups, g.batch), plan.planes, b, memory, image)
        padder.clear()
        writer = CorrelationWriter(plan, b, image, turned)
        self.emitter = Emitter(b, memory, plan.lanes)
        with b.loop(begin, end) as task:
            rest, part = self._split(task.index, plan.parts)
            rest, ins = self._split(rest, plan.in_blocks)
            group, outs = self._split(rest, plan.out_blocks)
            ins = b.mul(ins, b.i64(plan.inputs))
            sums = self._sums_of(part, group, ins, outs)
            self._clear(sums)
            with b.loop(*self._stretches(part)) as stretch:
                first = b.mul(stretch.index, b.i64(plan.images))
                following = self._following(group, ins, outs, first)
                writer.expect(following)
                with b.loop(0, plan.bands) as band:
                    row = b.mul(band.index, b.i64(plan.band))
                    seen = b.mul(row, b.i64(g.lines[0].dilation))
                    padder.emitter.push()
                    padder.fill(group, first, seen, ins)
                    padder.emitter.pop()
                    self._turn(group, outs, first, row, turned)
                    writer.write(sums)

    def _split(self, number: Value, count: int) -> tuple[Value, Value]:
        if count == 1:
            return number, self.b.i64(0)
        return quotient(self.b, number, count), remainder(self.b, number, count)

    def _stretches(self, part: Value) -> tuple[Value, Value]:
        b, plan = self.b, self.plan
        low = quotient(b, b.mul(part, b.i64(plan.stretches)), plan.parts)
        after = b.add(part, b.i64(1))
        return low, quotient(b, b.mul(after, b.i64(plan.stretches)), plan.parts)

    def _sums_of(self, part: Value, group: Value, ins: Value, outs: Value) -> Value:
        """Address of the first sum of a task."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        place = b.add(b.mul(group, b.i64(g.batch)), ins)
        place = b.mul(place, b.i64(plan.places * plan.padded_outs))
        place = b.add(place, b.mul(part, b.i64(plan.part_sums)))
        place = b.add(place, b.mul(outs, b.i64(plan.out_vectors * plan.lanes)))
        return b.offset(self.memory.pointers(self.partial), place, g.element)

    def _following(
        self, group: Value, ins: Value, outs: Value, first: Value
    ) -> list[tuple[Value, int]]:
        """Address and bytes of what the next stretch reads of both operands, where in one piece."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        axes = [Axis(n) for n in (g.groups, g.batch, g.outs, g.channels)]
        inputs = [Axis(line.source) for line in g.lines]
        kernel = [Axis(line.kernel) for line in g.lines]
        image = self._input(axes[3], axes[0], axes[1], [axis_index(a) for a in inputs])
        weight = self.convolution.weight(axes[0], axes[2], axes[3], [axis_index(a) for a in kernel])
        found = []
        later = b.add(first, b.i64(plan.images))
        many = plan.out_vectors * plan.lanes
        start = b.mul(outs, b.i64(many))
        for load, channel, count, at in (
            (image, axes[1], plan.inputs, ins),
            (weight, axes[2], min(many, g.outs), start),
        ):
            assert isinstance(load, Load)
            size = math.prod(load.tensor.shape) // max(1, g.channels)
            offset = self.memory.offset(load.tensor, load.indices)
            each = offset.terms.get(channel, 0)
            whole = g.groups == 1 and count * each == size
            simple = offset.terms.get(axes[3]) == size and (plan.images == 1 or whole)
            if not simple or load.tensor.bytes <= FITS_CACHE:
                continue
            place = b.add(b.mul(later, b.i64(size)), b.mul(at, b.i64(each)))
            place = b.add(place, b.mul(group, b.i64(offset.terms.get(axes[0], 0))))
            pointer = b.offset(self.memory.pointers(load.tensor), place, g.element)
            found.append((pointer, plan.images * count * each * size_of(g.element)))
        return found

    def _clear(self, sums: Value) -> None:
        b, plan = self.b, self.plan
        with b.loop(0, plan.inputs * plan.places) as row:
            pointer = b.offset(
                sums, b.mul(row.index, b.i64(plan.padded_outs)), plan.geometry.element
            )
            size = plan.out_vectors * plan.lanes
            clear(b, pointer, plan.geometry.element, plan.lanes, size)

    def _input(
        self, image: Axis, group: Axis, channel: Axis, places: Sequence[Index]
    ) -> Expression:
        return self.convolution.image(channel, group, image, places)

    # -- cotangents with channels side by side ----------------------------------------------------

    def _turn(self, group: Value, outs: Value, image: Value, row: Value, turned: Value) -> None:
        """Fill the buffer ``[tile][image][pixel][output channel of the tile]`` of a stretch."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        em = self.emitter
        axes = [Axis(n) for n in (g.groups, g.outs, g.channels)]
        places = [Axis(line.kernel) for line in g.lines]
        value = self.convolution.weight(
            axes[0], axes[1], axes[2], [axis_index(axis) for axis in places]
        )
        size = plan.out_vectors * plan.lanes
        em.enter(axes[0], group)
        with b.loop(0, plan.out_vectors) as v:
            first, wide = tile_of(b, plan.vectors, v.index)
            inside = b.mul(b.sub(v.index, first), b.i64(plan.lanes))
            start = b.mul(first, b.i64(plan.lanes * plan.images * plan.pixels))
            self.row = b.mul(wide, b.i64(plan.lanes))
            out = b.add(b.mul(outs, b.i64(size)), b.mul(v.index, b.i64(plan.lanes)))
            with b.loop(0, plan.images) as n:
                em.enter(axes[2], b.add(image, n.index))
                at = b.mul(b.mul(n.index, b.i64(plan.pixels)), self.row)
                at = b.add(b.add(at, start), inside)
                self._turn_rows(0, value, axes[1], places, out, row, at, turned)
                em.leave(axes[2])
        em.leave(axes[0])

    def _turn_rows(
        self,
        axis: int,
        value: Expression,
        channel: Axis,
        places: Sequence[Axis],
        out: Value,
        row: Value,
        at: Value,
        turned: Value,
    ) -> None:
        b, plan = self.b, self.plan
        if axis == len(places) - 1:
            self._turn_row(value, channel, places[-1], out, row, at, turned)
            return
        size = math.prod(place.extent for place in places[axis + 1 :])
        count = plan.band if axis == 0 else places[axis].extent
        with b.loop(0, count) as i:
            counter = b.add(row, i.index) if axis == 0 else i.index
            self.emitter.enter(places[axis], counter)
            start = b.add(at, b.mul(b.mul(i.index, b.i64(size)), self.row))
            self._turn_rows(axis + 1, value, channel, places, out, row, start, turned)
            self.emitter.leave(places[axis])

    def _turn_row(
        self,
        value: Expression,
        channel: Axis,
        column: Axis,
        out: Value,
        row: Value,
        at: Value,
        turned: Value,
    ) -> None:
        """One row of pixels of as many channels as a vector has lanes."""
        b, plan, outs = self.b, self.plan, self.plan.geometry.outs
        lanes = plan.lanes
        shift = row if len(plan.geometry.lines) == 1 else b.i64(0)
        count = plan.band if len(plan.geometry.lines) == 1 else column.extent
        ends = outs % lanes
        blocks = plan.padded_outs // lanes

        def block(start: Value, active: int, used: int) -> None:
            self._turn_block(value, channel, column, out, start, shift, at, turned, active, used)

        def pixels(used: int) -> None:
            whole = count // lanes * lanes
            if whole:
                with b.loop(0, whole, lanes) as x:
                    block(x.index, lanes, used)
            if count % lanes:
                # where rows are long the last block reaches back
                begin = count - lanes if whole else 0
                block(b.i64(begin), min(count, lanes), used)

        if outs % lanes == 0 and blocks * lanes == outs:
            pixels(lanes)
            return
        with b.when(b.compare("sle", out, b.i64(outs - lanes))):
            pixels(lanes)
        if ends:
            with b.when(b.compare("eq", out, b.i64(outs - ends))):
                pixels(ends)
        if blocks * lanes >= outs + lanes:
            with b.when(b.compare("sge", out, b.i64(outs))):
                pixels(0)

    def _turn_block(
        self,
        value: Expression,
        channel: Axis,
        column: Axis,
        out: Value,
        start: Value,
        shift: Value,
        at: Value,
        turned: Value,
        active: int,
        used: int,
    ) -> None:
        """Pixels times channels, as many as a vector has lanes, turned."""
        b, em, plan = self.b, self.emitter, self.plan
        lanes, element = plan.lanes, plan.geometry.element
        type_ = vector(element, lanes)
        rows = []
        for i in range(used):
            em.active = active
            em.enter(channel, b.add(out, b.i64(i)))
            em.enter(column, b.add(shift, start), vectorised=lanes > 1)
            rows.append(em.vector(value))
            em.leave(column)
            em.leave(channel)
            em.active = lanes
        zero = b.zero(type_) if lanes > 1 else b.constant(element, 0.0)
        rows += [zero] * (lanes - used)
        for i, x in enumerate(transpose(b, rows)[:active]):
            place = b.add(at, b.mul(b.add(start, b.i64(i)), self.row))
            b.store(x, b.offset(turned, place, element))

    # -- all parts --------------------------------------------------------------------------------

    @property
    def result_tasks(self) -> int:
        """Tasks of the second kernel: vectors of output channels."""
        return self.plan.geometry.groups * -(-self.plan.geometry.outs // self.plan.lanes)

    def emit_result(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Add up the parts and write the results of tasks ``begin`` to ``end``."""
        plan, g = self.plan, self.plan.geometry
        self.b, self.memory = b, memory
        em, axes = Emitter(b, memory, 1), self.epilogue.axes
        em.named = self.epilogue.values
        expressions, written = self.epilogue.expressions, self.epilogue.written
        em.hoist(expressions, written)
        sums = b.stack(g.element, plan.places * plan.lanes)
        blocks = -(-g.outs // plan.lanes)
        with b.loop(begin, end) as task:
            group, block = self._split(task.index, blocks)
            first = b.mul(block, b.i64(plan.lanes))
            last = minimum(b, b.add(first, b.i64(plan.lanes)), g.outs)
            with b.loop(0, g.batch) as channel:
                em.enter(axes[0], channel.index)
                number = b.add(b.mul(group, b.i64(g.batch)), channel.index)
                place = b.mul(number, b.i64(plan.places * plan.padded_outs))
                self._add_parts(b.add(place, first), sums)
                with b.loop(first, last) as out:
                    em.enter(axes[1], b.add(b.mul(group, b.i64(g.outs)), out.index))
                    em.hoist(expressions, written)
                    self._places(em, b.offset(sums, b.sub(out.index, first), g.element))
                    em.leave(axes[1])
                em.leave(axes[0])

    def _add_parts(self, start: Value, sums: Value) -> None:
        """Add up a vector of output channels at every place of the kernel."""
        b, plan, element = self.b, self.plan, self.plan.geometry.element
        type_, base = vector(element, plan.lanes), self.memory.pointers(self.partial)
        with b.loop(0, plan.places) as place:
            at = b.add(start, b.mul(place.index, b.i64(plan.padded_outs)))
            total = b.load(type_, b.offset(base, at, element))
            for part in range(1, plan.parts):
                step = b.add(at, b.i64(part * plan.part_sums))
                total = b.add(total, b.load(type_, b.offset(base, step, element)))
            b.store(total, b.offset(sums, b.mul(place.index, b.i64(plan.lanes)), element))

    def _places(self, em: Emitter, sums: Value) -> None:
        """Write the results of one pair of channels."""
        b, plan, lines = self.b, self.plan, self.plan.geometry.lines
        axes = self.epilogue.axes[2:]
        with b.loop(0, plan.places) as place:
            left = place.index
            counters: list[Value] = []
            for line in reversed(lines[1:]):
                counters.insert(0, remainder(b, left, line.out))
                left = quotient(b, left, line.out)
            for axis, counter in zip(axes, [left, *counters], strict=True):
                em.enter(axis, counter)
            step = b.mul(place.index, b.i64(plan.lanes))
            element = plan.geometry.element
            self.epilogue.write(em, b.load(element, b.offset(sums, step, element)))
            for axis in reversed(axes):
                em.leave(axis)
