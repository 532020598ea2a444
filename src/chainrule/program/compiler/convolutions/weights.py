"""Where a tile finds its weights: as the tensor lies in memory, or packed one after the other."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.operands import Convolution, constant_places
from chainrule.program.compiler.convolutions.pixels import WeightSteps
from chainrule.program.compiler.convolutions.planning import PixelPlan
from chainrule.program.compiler.convolutions.tiles import tile_of
from chainrule.program.compiler.emission.memory import Memory, Offset
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.expressions import Load
from chainrule.program.compiler.indices import Axis, axis_index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import size_of
from chainrule.program.compiler.products.product import quotient, remainder

SETS = 4096  # bytes: at multiples of this, streams meet in the same lines of the first-level cache
WAYS = 8  # of it
WORTH_PACKING = 1024  # outputs that a weight counts for; packing it takes as long as about 16


@dataclass(frozen=True, eq=False)
class Weights:
    """Packed weights, ``[tile of output channels][input channel][place][output of the tile]``.

    Args:
        tensor: Where they are.
        plan: The convolution.
    """

    tensor: Tensor
    plan: PixelPlan

    def start(self, phase: tuple[int, ...]) -> int:
        """Where the weights of a phase begin."""
        return self.plan.weights_before(phase)

    def out_step(self, phase: tuple[int, ...]) -> int:
        """Elements from an output channel that begins a tile to the next channel."""
        return self.plan.depth(phase)

    def steps(self, phase: tuple[int, ...], height: int) -> WeightSteps:
        """How a tile of ``height`` channels goes through them."""
        lines = self.plan.geometry.lines
        taps = [len(line.taps(p)) for line, p in zip(lines, phase, strict=True)]
        return WeightSteps(1, height, height * taps[-1], height * math.prod(taps))


@dataclass(frozen=True, eq=False)
class PlainWeights(Weights):
    """Weights as their tensor lies in memory.

    Args:
        first: The first one.
        found: The steps.
    """

    first: int
    found: WeightSteps

    def start(self, phase: tuple[int, ...]) -> int:
        """Where the weights of the only phase begin."""
        return self.first

    def out_step(self, phase: tuple[int, ...]) -> int:
        """Elements from an output channel to the next."""
        return self.found.out

    def steps(self, phase: tuple[int, ...], height: int) -> WeightSteps:
        """How a tile goes through them."""
        return self.found


def plain_weights(convolution: Convolution, plan: PixelPlan, offset: Offset) -> Weights | None:
    """The weights as they lie in memory, if tiles do best to read them there; None: pack them.

    A tile then reads as many streams as it has output channels.

    Args:
        convolution: What is computed.
        plan: How.
        offset: Where an element lies in its tensor's memory.
    """
    g = plan.geometry
    uses = g.batch * math.prod(line.out for line in g.lines)
    if uses > WORTH_PACKING or any(line.spread > 1 for line in g.lines):
        return None
    group, out, channel = (Axis(n) for n in (g.groups, g.outs, g.channels))
    places = [Axis(line.kernel) for line in g.lines]
    load = convolution.weight(group, out, channel, [axis_index(axis) for axis in places])
    if not isinstance(load, Load) or load.guard is not None:
        return None
    index = offset(load.tensor, load.indices)
    axes = group, out, channel, *places
    if not set(index.terms) <= set(axes):
        return None
    # axes of one element have no step
    steps = {axis: index.terms.get(axis, 0) for axis in axes}
    for outer, inner in itertools.pairwise(places[:-1]):
        if outer.extent > 1 and steps[outer] != steps[inner] * inner.extent:
            return None
    if g.groups > 1 and steps[group] != steps[out] * g.outs:
        return None
    height = plan.form.channels.tall[1]
    if height > WAYS and steps[out] * size_of(g.element) % SETS == 0:
        return None
    row = steps[places[-2]] if len(places) > 1 else 0
    found = WeightSteps(steps[out], steps[places[-1]], row, steps[channel])
    return PlainWeights(load.tensor, plan, index.constant, found)


def emit_weights(
    convolution: Convolution,
    plan: PixelPlan,
    b: Builder,
    memory: Memory,
    packed: Tensor,
    begin: Value,
    end: Value,
) -> None:
    """Pack the weights of output channels ``begin`` to ``end``, all groups' counted on.

    A tile's weights lie ``[input channel][place of the kernel][output channel of the tile]``.
    """
    g = plan.geometry
    axes = [Axis(n) for n in (g.groups, g.outs, g.channels)]
    emitter = Emitter(b, memory, 1)
    with b.loop(begin, end) as task:
        group, out = quotient(b, task.index, g.outs), remainder(b, task.index, g.outs)
        start, height = tile_of(b, plan.form.channels, out)
        emitter.enter(axes[0], group)
        emitter.enter(axes[1], out)
        with b.loop(0, g.channels) as channel:
            emitter.enter(axes[2], channel.index)
            for phase in g.phases:
                taps = [
                    [tap.place for tap in line.taps(p)]
                    for line, p in zip(g.lines, phase, strict=True)
                ]
                places = list(itertools.product(*taps))
                depth = plan.depth(phase)
                first = b.mul(b.add(b.mul(group, b.i64(g.outs)), start), b.i64(depth))
                first = b.add(first, b.i64(plan.weights_before(phase)))
                first = b.add(first, b.sub(out, start))
                turn = b.mul(channel.index, b.i64(len(places)))
                for number, place in enumerate(places):
                    value = convolution.weight(axes[0], axes[1], axes[2], constant_places(place))
                    step = b.mul(b.add(turn, b.i64(number)), height)
                    pointer = b.offset(memory.pointers(packed), b.add(first, step), g.element)
                    b.store(emitter.emit(value), pointer)
            emitter.leave(axes[2])
        emitter.leave(axes[1])
        emitter.leave(axes[0])
