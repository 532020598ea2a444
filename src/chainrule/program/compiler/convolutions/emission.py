"""Emission of a convolution with pixels in the lanes, and of what fusion put behind it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

from chainrule.program.compiler.convolutions.asking import (
    Asker,
    following_images,
    written_beside,
)
from chainrule.program.compiler.convolutions.operands import (
    Convolution,
    Epilogue,
    Pass,
)
from chainrule.program.compiler.convolutions.padding import Padder
from chainrule.program.compiler.convolutions.pixels import TileWriter
from chainrule.program.compiler.convolutions.planning import PixelPlan
from chainrule.program.compiler.convolutions.weights import Weights
from chainrule.program.compiler.emission import folding
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.products.product import minimum, quotient, remainder

UNROLLED = 4  # vectors of a row that are written out one after the other


class PixelEmitter:
    """Emits the tasks of a convolution.

    Args:
        convolution: What is computed.
        plan: How.
        epilogue: What is made of the sums; its axes are those of the result.
        weights: Where the weights are read.
        root: The tensor whose memory a tensor lies in.
    """

    def __init__(
        self,
        convolution: Convolution,
        plan: PixelPlan,
        epilogue: Epilogue,
        weights: Weights,
        root: Callable[[Tensor], Tensor],
    ) -> None:
        self.convolution = convolution
        self.plan = plan
        self.epilogue = epilogue
        self.weights = weights
        spread = plan.geometry.lines[-1].spread
        self.may_reach_back = spread == 1 and epilogue.may_repeat(root, epilogue.axes[-1])

    def emit(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks ``begin`` to ``end``."""
        plan, form = self.plan, self.plan.form
        g = plan.geometry
        self.b = b
        beside_all = self.epilogue
        joined = beside_all.joined(memory.offset) if form.dense else None
        self.is_joined = joined is not None
        self.epilogue = joined or beside_all
        image = b.stack(g.element, form.planes.size)
        self.sums = b.stack(g.element, form.buffer_size)
        n_folds = len(self.epilogue.folds)
        self.kept = b.stack(
            g.element, max(1, n_folds * form.channels.tall[1] * form.planes.images * form.lanes)
        )
        self.writer = TileWriter(form, b.module, b, image, self.sums)
        self.emitter = Emitter(b, memory, form.lanes)
        self.emitter.named = self.epilogue.values
        self.emitter.hoist(self.epilogue.expressions, self.epilogue.written)
        extents = (g.batch, g.groups, g.channels)
        padder = Padder(self.convolution.image, extents, form.planes, b, memory, image)
        padder.clear()
        weights = memory.pointers(self.weights.tensor)
        with b.loop(begin, end) as task:
            number, part = self._split(task.index, plan.parts)
            rest, band = self._split(number, plan.bands)
            block, group = self._split(rest, g.groups)
            first = b.mul(block, b.i64(form.planes.images))
            band = self._first_row(band)
            self.writer.band = band
            padder.emitter.push()
            padder.fill(group, first, band, b.i64(0))
            padder.emitter.pop()
            later, row = self._split(b.add(number, b.i64(1)), plan.bands)
            row = self._first_row(row)
            following = following_images(self.convolution, plan, b, memory, later, row)
            beside = written_beside(beside_all, plan, memory)
            self.asker = Asker(plan, b, memory, band, following, beside)
            low, high = self._part(part)
            form.channels.loop(
                b, low, high, lambda o, h: self._tile(group, first, band, o, h, weights)
            )

    def _split(self, number: Value, count: int) -> tuple[Value, Value]:
        if count == 1:
            return number, self.b.i64(0)
        return quotient(self.b, number, count), remainder(self.b, number, count)

    def _first_row(self, band: Value) -> Value:
        """First output of a band along the first axis; the last one reaches back."""
        b, plan = self.b, self.plan
        band = b.mul(band, b.i64(plan.form.planes.band))
        if plan.bands == 1:
            return band
        return minimum(b, band, plan.geometry.lines[0].count - plan.form.planes.band)

    def _part(self, part: Value) -> tuple[Value, Value]:
        """First and last (exclusive) tile of channels of a part."""
        b, count, parts = self.b, self.plan.form.channels.count, self.plan.parts
        if parts == 1:
            return b.i64(0), b.i64(count)
        low = quotient(b, b.mul(part, b.i64(count)), parts)
        high = quotient(b, b.mul(b.add(part, b.i64(1)), b.i64(count)), parts)
        return low, high

    def _tile(
        self, group: Value, image: Value, band: Value, out: Value, height: int, weights: Value
    ) -> None:
        b, g = self.b, self.plan.geometry
        number = b.add(b.mul(group, b.i64(g.outs)), out)
        for lead in itertools.product(*(range(line.spread) for line in g.lines[:-1])):
            for last in range(g.lines[-1].spread):
                phase = (*lead, last)
                place = b.mul(number, b.i64(self.weights.out_step(phase)))
                place = b.add(place, b.i64(self.weights.start(phase)))
                begin = None
                if last == 0 and not any(lead):
                    begin = partial(self.asker.tile, out, image, number, height)
                self.writer.write(
                    phase,
                    height,
                    b.offset(weights, place, g.element),
                    self.weights.steps(phase, height),
                    begin,
                )
            self._epilogue(lead, number, height, image, band)

    # -- what is made of the sums -----------------------------------------------------------------

    def _epilogue(
        self, lead: Sequence[int], number: Value, height: int, image: Value, band: Value
    ) -> None:
        b, form = self.b, self.plan.form
        strides = form.sum_strides()
        em, axes = self.emitter, self.epilogue.axes
        with b.loop(0, height) as i:
            em.enter(axes[1], b.add(number, i.index))
            em.hoist(self.epilogue.expressions, self.epilogue.written)
            at = b.mul(i.index, b.i64(form.sums))
            with b.loop(0, form.planes.images) as n:
                em.enter(axes[0], b.add(image, n.index))
                start = b.add(at, b.mul(n.index, b.i64(strides[0])))
                number = b.add(b.mul(i.index, b.i64(form.planes.images)), n.index)
                for each in self.epilogue.passes:
                    self._pass(each, lead, band, start, number)
                for fold in self.epilogue.folds:
                    em.locals.pop(fold.tensor, None)
                em.leave(axes[0])
            em.leave(axes[1])

    def _pass(self, part: Pass, lead: Sequence[int], band: Value, at: Value, number: Value) -> None:
        """One pass over the pixels of an image; its folds are finished after the last phase.

        Args:
            part: What is done.
            lead: Phases of all axes but the last.
            band: First output along the first axis.
            at: The place of the sums.
            number: Of the channel and image, among those of the tile.
        """
        b, em, lanes = self.b, self.emitter, self.plan.form.lanes
        self.part = part
        start = [v for f in part.folds for v in folding.start(b, f.fold, lanes)]
        kept = [b.mul(number, b.i64(len(start) * lanes)) for _ in start]
        kept = [
            b.offset(self.kept, b.add(place, b.i64(i * lanes)), self.plan.geometry.element)
            for i, place in enumerate(kept)
        ]
        if any(lead):
            start = [b.load(v.type, pointer) for v, pointer in zip(start, kept, strict=True)]
        state = self._rows(0, lead, band, at, start)
        if any(p + 1 < x.spread for p, x in zip(lead, self.plan.geometry.lines, strict=False)):
            for value, pointer in zip(state, kept, strict=True):
                b.store(value, pointer)
            return
        for fold, register in zip(part.folds, state, strict=True):
            (value,) = folding.across(self.b, fold.fold, [register])
            em.locals[fold.tensor] = value
            if fold.stored:
                em.store(fold.tensor, fold.indices, value)

    def _rows(
        self, axis: int, lead: Sequence[int], band: Value, at: Value, state: list[Value]
    ) -> list[Value]:
        """Loops over the rows of the result from the outside in.

        Args:
            axis: The spatial axis.
            lead: Phases of all axes but the last.
            band: First output along the first axis.
            at: The sums' place.
            state: Registers of the folds; those afterwards are returned.
        """
        b, form, lines = self.b, self.plan.form, self.plan.geometry.lines
        em = self.emitter
        em.hoist(self.part.expressions, self.epilogue.written)
        if self.is_joined:
            columns = lines[-1].out
            first = b.mul(band, b.i64(columns))
            return self._columns(at, form.planes.band * columns, first, state)
        if axis == len(lines) - 1:
            return self._columns(at, lines[-1].out, b.i64(0), state)
        line, counter = lines[axis], self.epilogue.axes[axis + 2]
        in_phase = -(-(line.out - lead[axis]) // line.spread)
        banded = axis == 0 and form.planes.is_banded
        count = b.i64(in_phase)
        if banded:
            count = minimum(b, b.sub(count, band), form.planes.band)
        stride = form.sum_strides()[axis + 1]
        with b.loop(b.i64(0), count, 1, state) as i:
            place = b.add(i.index, band) if banded else i.index
            place = b.add(b.mul(place, b.i64(line.spread)), b.i64(lead[axis]))
            em.enter(counter, place)
            start = b.add(at, b.mul(i.index, b.i64(stride)))
            i.carry(*self._rows(axis + 1, lead, band, start, i.carried))
            em.leave(counter)
        return i.results

    def _columns(self, at: Value, out: int, first: Value, state: list[Value]) -> list[Value]:
        """Vectors of ``out`` outputs, one after the other.

        Args:
            at: The sums' place.
            out: How many.
            first: Number of the first one.
            state: Registers of the folds; those afterwards are returned.
        """
        b, lanes = self.b, self.plan.form.lanes
        whole = out // lanes * lanes
        if whole <= UNROLLED * lanes:
            for x in range(0, whole, lanes):
                state = self._vector(b.i64(x), at, first, lanes, state)
        else:
            with b.loop(0, whole, lanes, state) as loop:
                loop.carry(*self._vector(loop.index, at, first, lanes, loop.carried))
            state = loop.results
        if out % lanes:
            back = self.may_reach_back and out >= lanes
            begin = out - lanes if back else whole
            active = lanes if back else out - whole
            state = self._vector(b.i64(begin), at, first, active, state)
        return state

    def _vector(
        self, x: Value, at: Value, first: Value, active: int, state: list[Value]
    ) -> list[Value]:
        em, b, lanes = self.emitter, self.b, self.plan.form.lanes
        axis = self.epilogue.axes[-1]
        em.active = active
        em.enter(axis, b.add(first, x), vectorised=lanes > 1)
        taken = self.epilogue.run(self.part, em, self._sum(x, at, active))
        new = []
        for fold, old, value in zip(self.part.folds, state, taken, strict=True):
            (found,) = folding.step(b, fold.fold, [old], value, b.i64(0))
            if active < lanes:
                found = b.select(b.first_lanes(active, lanes), found, old)
            new.append(found)
        em.leave(axis)
        em.active = lanes
        return new

    def _sum(self, x: Value, at: Value, active: int) -> Value:
        """The sums of a vector of outputs, from as many phases as their columns have."""
        b, form = self.b, self.plan.form
        lanes, element = form.lanes, self.plan.geometry.element
        spread = self.plan.geometry.lines[-1].spread
        type_ = vector(element, lanes)
        phase_size = form.channels.tall[1] * form.sums

        def pointer(place: Value) -> Value:
            return b.offset(self.sums, b.add(at, place), element)

        if spread == 1:
            return b.load(type_, pointer(x))
        if spread == 2 and lanes > 1:
            half = quotient(b, x, 2)
            even = b.load(type_, pointer(half))
            odd = b.load(type_, pointer(b.add(half, b.i64(phase_size))))
            order = [lane // 2 + lane % 2 * lanes for lane in range(lanes)]
            return b.shuffle(even, odd, order)
        result = b.poison(type_)
        for lane in range(active):
            column = b.add(x, b.i64(lane))
            place = b.mul(remainder(b, column, spread), b.i64(phase_size))
            one = b.load(element, pointer(b.add(place, quotient(b, column, spread))))
            if lanes == 1:
                return one
            result = b.insert(result, one, lane)
        return result
