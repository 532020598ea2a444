"""Emission of a weight gradient with images in the lanes, and of what fusion put behind it."""

from __future__ import annotations

import math

from chainrule.program.compiler.convolutions.image_lanes import LaneGradient, Run
from chainrule.program.compiler.convolutions.image_lanes_rows import (
    RowLoops,
    Rows,
    share,
    strides_of,
)
from chainrule.program.compiler.convolutions.operands import Epilogue
from chainrule.program.compiler.convolutions.padding import clear
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.products.dot import add_lanes
from chainrule.program.compiler.products.product import quotient, remainder
from chainrule.program.compiler.products.tiling import Tiling, frozen


class LaneGradientEmitter:
    """Emits both kernels.

    Args:
        plan: How.
        epilogue: What is made of the sums; its axes are those of the result.
        image: The image's tensor; both lie in ``ImageLanes``.
        cotangent: The cotangent's.
        partial: Memory of the sums of all parts.
    """

    def __init__(
        self,
        plan: LaneGradient,
        epilogue: Epilogue,
        image: Tensor,
        cotangent: Tensor,
        partial: Tensor,
    ) -> None:
        self.plan = plan
        self.epilogue = epilogue
        self.image = image
        self.cotangent = cotangent
        self.partial = partial

    @property
    def result_tasks(self) -> int:
        """Tasks of the second kernel: output channels."""
        return self.plan.geometry.outs

    def emit_parts(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks ``begin`` to ``end`` of the sums."""
        plan, g = self.plan, self.plan.geometry
        self.b, self.element = b, g.element
        self.type = vector(g.element, plan.lanes)
        lanes = plan.lanes
        self.pixels = math.prod(line.source for line in g.lines) * lanes
        self.outputs = math.prod(line.kernel for line in g.lines) * lanes
        self.loops = RowLoops(
            b,
            g.lines,
            strides_of([line.source for line in g.lines], lanes),
            strides_of([line.kernel for line in g.lines], lanes),
            g.element,
        )
        sums = memory.pointers(self.partial)
        tiles = Tiling(g.outs, plan.height)
        with b.loop(begin, end) as task:
            part, own = task.index, b.i64(0)
            if plan.shares > 1:
                part = quotient(b, task.index, plan.shares)
                own = remainder(b, task.index, plan.shares)
            low, high = share(b, own, tiles.count, plan.shares)
            start = b.mul(part, b.i64(plan.part_sums))
            self.sums = frozen(b, b.offset(sums, start, g.element))
            tiles.loop(b, low, high, self._clear)
            with b.loop(*share(b, part, plan.blocks, plan.parts)) as block:
                self._block(memory, block.index)
                tiles.loop(b, low, high, self._outs)

    def _clear(self, out: Value, height: int) -> None:
        plan = self.plan
        size = plan.geometry.batch * plan.places
        start = self.b.offset(self.sums, self.b.mul(out, self.b.i64(size)), self.element)
        clear(self.b, start, self.element, 1, height * size)

    def _block(self, memory: Memory, block: Value) -> None:
        """Where a block's images and cotangents lie, and which of its lanes hold any."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        at = b.mul(block, b.i64(g.batch * self.pixels))
        self.images = frozen(b, b.offset(memory.pointers(self.image), at, self.element))
        at = b.mul(block, b.i64(g.outs * self.outputs))
        self.cotangents = frozen(b, b.offset(memory.pointers(self.cotangent), at, self.element))
        self.mask: Value | None = None
        rest = g.channels % plan.lanes
        if rest:
            whole = b.compare("slt", block, b.i64(plan.blocks - 1))
            every = b.splat(whole, plan.lanes)
            self.mask = b.binary("or", every, b.first_lanes(rest, plan.lanes))

    def _load(self, pointer: Value) -> Value:
        """Pixels of all images; zeros in lanes that hold none."""
        value = self.b.load(self.type, pointer)
        if self.mask is None:
            return value
        return self.b.select(self.mask, value, self.b.zero(self.type))

    def _outs(self, out: Value, height: int) -> None:
        """All sums of some output channels."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        at = b.mul(out, b.i64(self.outputs))
        cotangents = frozen(b, b.offset(self.cotangents, at, self.element))
        columns = Tiling(g.lines[-1].out, plan.columns)
        inputs = Tiling(g.batch, plan.inputs)

        def channels(first: Value, count: int) -> None:
            at = b.mul(first, b.i64(self.pixels))
            images = frozen(b, b.offset(self.images, at, self.element))
            place = b.add(b.mul(out, b.i64(g.batch)), first)
            place = b.mul(place, b.i64(plan.places))
            number: list[Value] = [b.i64(0)]

            def enter(axis: int, counter: Value | None) -> None:
                if counter is None:
                    number.pop()
                else:
                    wide = b.mul(number[-1], b.i64(g.lines[axis].out))
                    number.append(b.add(wide, counter))

            def row(rows: Rows) -> None:
                own = b.add(place, b.mul(number[-1], b.i64(g.lines[-1].out)))
                for tile in range(columns.count):
                    start = columns.start(tile)
                    wide = columns.start(tile + 1) - start
                    found = self._tile(rows, images, cotangents, start, wide, count, height)
                    self._add(b.add(own, b.i64(start)), found, wide, count)

            self.loops.outputs(row, enter)

        inputs.loop(b, b.i64(0), b.i64(inputs.count), channels)

    def _tile(
        self,
        rows: Rows,
        images: Value,
        cotangents: Value,
        first: int,
        wide: int,
        count: int,
        height: int,
    ) -> list[Value]:
        """Sums [output][input][column], for all pixels of a block, in every lane."""
        b, runs = self.b, self.plan.runs(first, wide)
        image = frozen(b, b.offset(images, rows.image, self.element))
        cotangent = frozen(b, b.offset(cotangents, rows.kernel, self.element))
        zeros = [b.zero(self.type)] * (height * count * wide)

        def row(at: Value, place: Value, sums: list[Value]) -> list[Value]:
            for run in runs:
                sums = self._run(run, at, place, sums, wide, count)
            return sums

        return self.loops.taps(rows, image, cotangent, zeros, row)

    def _run(
        self, run: Run, image: Value, cotangent: Value, sums: list[Value], wide: int, count: int
    ) -> list[Value]:
        """Add some tiles of a row of the cotangent."""
        b, lanes = self.b, self.plan.lanes
        at = b.offset(image, run.origin * lanes, self.element)
        place = b.offset(cotangent, run.first * lanes, self.element)
        if run.count == 1:
            return self._pixels(run, at, place, sums, wide, count)
        with b.loop(0, run.count, 1, [frozen(b, at), frozen(b, place), *sums]) as loop:
            at, place, *state = loop.carried
            state = self._pixels(run, at, place, state, wide, count)
            steps = run.step * lanes, len(run.seen) * lanes
            moved = [
                frozen(b, b.offset(pointer, step, self.element))
                for pointer, step in zip((at, place), steps, strict=True)
            ]
            loop.carry(*moved, *state)
        return loop.results[2:]

    def _pixels(
        self, run: Run, image: Value, cotangent: Value, sums: list[Value], wide: int, count: int
    ) -> list[Value]:
        b, lanes = self.b, self.plan.lanes
        fresh = list(sums)
        height = len(sums) // (wide * count)
        for number, one in enumerate(run.seen):
            ys = [
                self._load(b.offset(cotangent, i * self.outputs + number * lanes, self.element))
                for i in range(height if one else 0)
            ]
            for column, place in one:
                for c in range(count):
                    step = c * self.pixels + place * lanes
                    x = self._load(b.offset(image, step, self.element))
                    for i, y in enumerate(ys):
                        at = (i * count + c) * wide + column
                        fresh[at] = b.fma(y, x, fresh[at])
        return fresh

    def _add(self, place: Value, found: list[Value], wide: int, count: int) -> None:
        """Add the lanes of a tile's sums to the part's."""
        b, plan = self.b, self.plan
        base = frozen(b, b.offset(self.sums, place, self.element))
        for first in range(0, len(found), plan.lanes):
            some = found[first : first + plan.lanes]
            totals = add_lanes(b, some)
            for lane in range(len(some)):
                pair, column = divmod(first + lane, wide)
                i, c = divmod(pair, count)
                step = (i * plan.geometry.batch + c) * plan.places + column
                pointer = b.offset(base, step, self.element)
                known = b.load(self.element, pointer)
                b.store(b.add(known, b.extract(totals, lane)), pointer)

    # -- what is made of the sums -----------------------------------------------------------------

    def emit_result(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Add up the parts, and write the results of output channels ``begin`` to ``end``."""
        plan, g = self.plan, self.plan.geometry
        em, axes = Emitter(b, memory, 1), self.epilogue.axes
        em.named = self.epilogue.values
        em.hoist(self.epilogue.expressions, self.epilogue.written)
        base = memory.pointers(self.partial)
        with b.loop(begin, end) as out:
            em.enter(axes[1], out.index)
            with b.loop(0, g.batch) as channel:
                em.enter(axes[0], channel.index)
                pair = b.add(b.mul(out.index, b.i64(g.batch)), channel.index)
                start = b.offset(base, b.mul(pair, b.i64(plan.places)), g.element)
                with b.loop(0, plan.places) as place:
                    left = place.index
                    counters: list[Value] = []
                    for line in reversed(g.lines[1:]):
                        counters.insert(0, remainder(b, left, line.out))
                        left = quotient(b, left, line.out)
                    for axis, counter in zip(axes[2:], [left, *counters], strict=True):
                        em.enter(axis, counter)
                    pointer = b.offset(start, place.index, g.element)
                    total = b.load(g.element, pointer)
                    for part in range(1, plan.parts):
                        other = b.offset(pointer, part * plan.part_sums, g.element)
                        total = b.add(total, b.load(g.element, other))
                    self.epilogue.write(em, total)
                    for axis in reversed(axes[2:]):
                        em.leave(axis)
                em.leave(axes[0])
            em.leave(axes[1])
