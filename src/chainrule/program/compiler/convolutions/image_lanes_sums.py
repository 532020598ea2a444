"""Emission of a convolution with images in the lanes, and of what fusion put behind it."""

from __future__ import annotations

import math

from chainrule.program.compiler.convolutions.image_lanes import LaneSums, Run, Seen
from chainrule.program.compiler.convolutions.image_lanes_rows import (
    RowLoops,
    Rows,
    share,
    strides_of,
)
from chainrule.program.compiler.convolutions.operands import Convolution, Epilogue
from chainrule.program.compiler.convolutions.tiles import tile_of
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.indices import Axis, axis_index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.products.product import quotient, remainder
from chainrule.program.compiler.products.tiling import frozen


class LaneSumsEmitter:
    """Emits the tasks of a convolution.

    Args:
        convolution: What is computed.
        plan: How.
        epilogue: What is made of the sums; its axes are those of the result.
        image: The image's tensor, which lies in ``ImageLanes``.
        packed: The packed weights.
    """

    def __init__(
        self,
        convolution: Convolution,
        plan: LaneSums,
        epilogue: Epilogue,
        image: Tensor,
        packed: Tensor,
    ) -> None:
        self.convolution = convolution
        self.plan = plan
        self.epilogue = epilogue
        self.image = image
        self.packed = packed

    # -- weights ----------------------------------------------------------------------------------

    def emit_weights(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Pack the weights of output channels ``begin`` to ``end``: [tile][input][place][output].

        Those of a tile lie in the order in which its loops read them.
        """
        plan, g = self.plan, self.plan.geometry
        axes = [Axis(1), Axis(g.outs), Axis(g.channels)]
        places = [Axis(line.kernel) for line in g.lines]
        value = self.convolution.weight(axes[0], axes[1], axes[2], [*map(axis_index, places)])
        emitter = Emitter(b, memory, 1)
        emitter.enter(axes[0], b.i64(0))
        with b.loop(begin, end) as out:
            start, height = tile_of(b, plan.channels, out.index)
            tile = b.add(b.mul(start, b.i64(g.channels * plan.places)), b.sub(out.index, start))
            emitter.enter(axes[1], out.index)
            with b.loop(0, g.channels) as channel:
                emitter.enter(axes[2], channel.index)
                with b.loop(0, plan.places) as place:
                    left = place.index
                    counters: list[Value] = []
                    for line in reversed(g.lines[1:]):
                        counters.insert(0, remainder(b, left, line.kernel))
                        left = quotient(b, left, line.kernel)
                    for axis, counter in zip(places, [left, *counters], strict=True):
                        emitter.enter(axis, counter)
                    number = b.add(b.mul(channel.index, b.i64(plan.places)), place.index)
                    at = b.add(tile, b.mul(number, height))
                    pointer = b.offset(memory.pointers(self.packed), at, g.element)
                    b.store(emitter.emit(value), pointer)
                    for axis in reversed(places):
                        emitter.leave(axis)
                emitter.leave(axes[2])
            emitter.leave(axes[1])
        emitter.leave(axes[0])

    # -- sums -------------------------------------------------------------------------------------

    def emit(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks ``begin`` to ``end``."""
        plan, g = self.plan, self.plan.geometry
        self.b, self.element = b, g.element
        self.type = vector(g.element, plan.lanes)
        self.sums = b.stack(g.element, plan.channels.size * g.lines[-1].out * plan.lanes)
        sources = [line.source for line in g.lines]
        self.pixels = math.prod(sources) * plan.lanes
        self.emitter = Emitter(b, memory, plan.lanes)
        self.emitter.named = self.epilogue.values
        self._hoist()
        weights, image = memory.pointers(self.packed), memory.pointers(self.image)
        with b.loop(begin, end) as task:
            block, part = task.index, b.i64(0)
            if plan.parts > 1:
                block, part = quotient(b, block, plan.parts), remainder(b, block, plan.parts)
            start = b.mul(block, b.i64(g.channels * self.pixels))
            self.start = frozen(b, b.offset(image, start, g.element))
            self.block = block
            self.emitter.enter(
                self.epilogue.axes[0], b.mul(block, b.i64(plan.lanes)), vectorised=True
            )
            self._hoist()
            low, high = share(b, part, plan.channels.count, plan.parts)
            plan.channels.loop(b, low, high, lambda o, h: self._channels(o, h, weights))
            self.emitter.leave(self.epilogue.axes[0])

    def _hoist(self) -> None:
        self.emitter.hoist(self.epilogue.expressions, self.epilogue.written)

    def _channels(self, out: Value, height: int, weights: Value) -> None:
        """All pixels of a block for some output channels."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        place = b.mul(out, b.i64(g.channels * plan.places))
        self.weights = frozen(b, b.offset(weights, place, g.element))
        loops = RowLoops(
            b,
            g.lines,
            strides_of([line.source for line in g.lines], plan.lanes),
            strides_of([line.kernel for line in g.lines], height),
            g.element,
        )

        def enter(axis: int, counter: Value | None) -> None:
            if counter is None:
                self.emitter.leave(self.epilogue.axes[axis + 2])
            else:
                self.emitter.enter(self.epilogue.axes[axis + 2], counter)
                self._hoist()

        def row(rows: Rows) -> None:
            for run in plan.runs:
                self._run(loops, rows, run, height)
            self._write(out, height)

        loops.outputs(row, enter)

    def _run(self, loops: RowLoops, rows: Rows, run: Run, height: int) -> None:
        """The sums of some tiles of a row."""
        b, lanes = self.b, self.plan.lanes
        width = len(run.seen)
        image = b.offset(self.start, b.add(rows.image, b.i64(run.origin * lanes)), self.element)
        weights = frozen(b, b.offset(self.weights, rows.kernel, self.element))

        def tile(at: Value, sums: Value) -> None:
            found = self._tile(loops, rows, run.seen, height, at, weights)
            for number, value in enumerate(found):
                i, j = divmod(number, width)
                step = (i * self.plan.geometry.lines[-1].out + j) * lanes
                b.store(value, b.offset(sums, step, self.element))

        own = b.offset(self.sums, run.first * lanes, self.element)
        if run.count == 1:
            tile(frozen(b, image), own)
            return
        with b.loop(0, run.count, 1, [frozen(b, image), frozen(b, own)]) as loop:
            at, sums = loop.carried
            tile(at, sums)
            steps = run.step * lanes, width * lanes
            loop.carry(
                *(
                    frozen(b, b.offset(pointer, step, self.element))
                    for pointer, step in zip((at, sums), steps, strict=True)
                )
            )

    def _tile(
        self,
        loops: RowLoops,
        rows: Rows,
        seen: tuple[Seen, ...],
        height: int,
        image: Value,
        weights: Value,
    ) -> list[Value]:
        b, plan, g = self.b, self.plan, self.plan.geometry
        zeros = [b.zero(self.type)] * (height * len(seen))

        def taps(at: Value, place: Value, sums: list[Value]) -> list[Value]:
            return self._taps(at, place, sums, seen, height)

        if g.channels == 1:
            return loops.taps(rows, image, weights, zeros, taps)
        with b.loop(0, g.channels, 1, [image, weights, *zeros]) as channel:
            at, place, *sums = channel.carried
            sums = loops.taps(rows, at, place, sums, taps)
            moved = (
                frozen(b, b.offset(at, self.pixels, self.element)),
                frozen(b, b.offset(place, plan.places * height, self.element)),
            )
            channel.carry(*moved, *sums)
        return channel.results[2:]

    def _taps(
        self, image: Value, weights: Value, sums: list[Value], seen: tuple[Seen, ...], height: int
    ) -> list[Value]:
        """Multiply-adds of one row of taps with the pixels of a tile."""
        b, lanes, width = self.b, self.plan.lanes, len(seen)
        fresh = list(sums)

        def pixel(place: int) -> Value:
            return b.load(self.type, b.offset(image, place * lanes, self.element))

        def weight(tap: int, i: int) -> Value:
            place = b.offset(weights, tap * height + i, self.element)
            return b.splat(b.load(self.element, place), lanes)

        for tap in range(self.plan.geometry.lines[-1].kernel):
            places = [(j, at) for j, one in enumerate(seen) for t, at in one if t == tap]
            if len(places) <= height:
                kept = [(j, pixel(at)) for j, at in places]
                for i in range(height if kept else 0):
                    w = weight(tap, i)
                    for j, x in kept:
                        fresh[i * width + j] = b.fma(w, x, fresh[i * width + j])
            else:
                weights_ = [weight(tap, i) for i in range(height)]
                for j, at in places:
                    x = pixel(at)
                    for i, w in enumerate(weights_):
                        fresh[i * width + j] = b.fma(w, x, fresh[i * width + j])
        return fresh

    # -- what is made of the sums -----------------------------------------------------------------

    def _write(self, out: Value, height: int) -> None:
        """Write what follows from the sums of a row."""
        b, plan = self.b, self.plan
        rest = plan.geometry.batch % plan.lanes
        if not rest:
            self._epilogue(out, height, plan.lanes)
            return
        last = b.compare("eq", self.block, b.i64(plan.blocks - 1))
        for wanted, active in ((b.binary("xor", last, b.constant("i1", True)), plan.lanes),
                               (last, rest)):  # fmt: skip
            with b.when(wanted):
                self.emitter.push()
                self._epilogue(out, height, active)
                self.emitter.pop()

    def _epilogue(self, out: Value, height: int, active: int) -> None:
        b, em, axes = self.b, self.emitter, self.epilogue.axes
        columns = self.plan.geometry.lines[-1].out
        em.active = active
        with b.loop(0, height) as i:
            em.enter(axes[1], b.add(out, i.index))
            self._hoist()
            row = b.mul(i.index, b.i64(columns * self.plan.lanes))
            start = b.offset(self.sums, row, self.element)
            with b.loop(0, columns) as x:
                em.enter(axes[-1], x.index)
                at = b.offset(start, b.mul(x.index, b.i64(self.plan.lanes)), self.element)
                self.epilogue.write(em, b.load(self.type, at))
                em.leave(axes[-1])
            em.leave(axes[1])
        em.active = self.plan.lanes
