"""The form with images in the lanes, for few channels: a vector holds one pixel of several images.

Tensors lie ``[block of images][channel][row ...][column][image of the block]`` (``ImageLanes``). So
every lane works at any number of channels and any image size; padding is never stored or
multiplied, since which taps of the kernel see an image depends on the pixel alone; and what stands
around the convolutions (activations, pooling and its gradient) reads and writes whole vectors too.
What it takes is a batch of at least about as many images as a vector has lanes, and images so small
that those of a block stay in the cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Geometry, Line
from chainrule.program.compiler.indices import Index, ravel
from chainrule.program.compiler.layouts import Layout
from chainrule.program.compiler.llvm.types import size_of
from chainrule.program.compiler.products.tiling import Tiling
from chainrule.program.compiler.target import Target

MOST_CHANNELS = 16  # of the side with fewer channels
LEAST_PLACES = 4  # of a kernel: with fewer, laying out what stands around it costs too much
MOST_COLUMNS = 16  # of a kernel
MOST_TAPS = 512  # multiply-adds that are written out for one tile, all its forms together
TASKS = 16
LATENCY = 4.5  # cycles until a sum can be added to, and what is lost with few sums
LEAST_FILLED = 0.6  # share of the lanes that must hold images

Seen = tuple[
    tuple[int, int], ...
]  # for one pixel: places of the kernel, and how far away they read


@dataclass(frozen=True)
class ImageLanes(Layout):
    """Images side by side: ``[block][all axes but the first][image of the block]``.

    Args:
        lanes: Images of a block; the last block is filled up.
    """

    lanes: int = 8

    @property
    def size(self) -> int:
        """Elements of memory."""
        return -(-self.shape[0] // self.lanes) * self.lanes * math.prod(self.shape[1:])

    def offset(self, indices: tuple[Index, ...]) -> Index:
        """Number of the element in memory."""
        image, rest = indices[0], ravel(indices[1:], self.shape[1:])
        block = math.prod(self.shape[1:]) * self.lanes
        return (image // self.lanes) * block + rest * self.lanes + image % self.lanes


@dataclass(frozen=True)
class Run:
    """Tiles of pixels, one after the other, that see the kernel's places alike.

    Args:
        first: First pixel.
        count: Tiles.
        origin: The input's place from which the first tile counts.
        step: Inputs from one tile to the next.
        seen: For each pixel of a tile, what it sees.
    """

    first: int
    count: int
    origin: int
    step: int
    seen: tuple[Seen, ...]

    @property
    def taps(self) -> int:
        """Pairs of a pixel and a place of the kernel in a tile."""
        return sum(map(len, self.seen))


def runs_of(columns: Sequence[Seen], width: int, pixels: int, inputs: int) -> list[Run]:
    """Cuts pixels into tiles, and joins neighbouring tiles that see alike into runs.

    Args:
        columns: For every pixel the places of the kernel and of the input that meet there.
        width: Pixels of a tile.
        pixels, inputs: So many pixels further, everything lies so many inputs further.
    """
    found: list[Run] = []
    for first in range(0, len(columns), width):
        origin = first * inputs // pixels
        part = columns[first : first + width]
        seen = tuple(tuple((t, place - origin) for t, place in one) for one in part)
        last = found[-1] if found else None
        evenly = first * inputs % pixels == 0 and width * inputs % pixels == 0
        if last is not None and evenly and last.seen == seen:
            found[-1] = Run(last.first, last.count + 1, last.origin, last.step, seen)
        else:
            found.append(Run(first, 1, origin, width * inputs // pixels, seen))
    return found


def seen_by_outputs(line: Line) -> list[Seen]:
    """For every output of an axis the places of the kernel that see an input, and which."""
    return [
        tuple((t, at) for t in range(line.kernel) if (at := input_of(line, o, t)) is not None)
        for o in range(line.out)
    ]


def seen_by_places(line: Line, first: int, count: int) -> list[Seen]:
    """For every place of the kernel, ``count`` outputs from ``first`` that see an input."""
    return [
        tuple((o, at) for o in range(count) if (at := input_of(line, first + o, t)) is not None)
        for t in range(line.kernel)
    ]


def input_of(line: Line, out: int, place: int) -> int | None:
    """The input that an output sees through a place of the kernel; None outside of the image."""
    at, between = divmod(out * line.stride + place * line.dilation - line.before, line.spread)
    return at if between == 0 and 0 <= at < line.source else None


@dataclass(frozen=True)
class Taps:
    """Places of the kernel that the outputs ``i * spread + phase`` of an axis see.

    Args:
        place, step: The first, and from one to the next.
        count: How many.
        start, stride, inside: Place number k sees input ``start + i * stride + k * inside``.
    """

    place: int
    step: int
    count: int
    start: int
    stride: int
    inside: int


def taps_of(line: Line, phase: int) -> Taps:
    """The taps of a phase, which lie evenly."""
    step = line.spread // math.gcd(line.dilation, line.spread)
    inside = step * line.dilation // line.spread
    for place in range(min(step, line.kernel)):
        seen = phase * line.stride + place * line.dilation - line.before
        if seen % line.spread == 0:
            count = -(-(line.kernel - place) // step)
            return Taps(place, step, count, seen // line.spread, line.stride, inside)
    return Taps(0, step, 0, 0, line.stride, inside)


@dataclass(frozen=True)
class LaneSums:
    """A convolution, or its input gradient, with images in the lanes.

    Args:
        geometry: The convolution.
        lanes: Images of a block.
        height: Output channels of a tile.
        width: Columns of a tile.
        parts: Tasks that share the output channels of a block.
    """

    geometry: Geometry
    lanes: int
    height: int
    width: int
    parts: int

    @property
    def blocks(self) -> int:
        """Blocks of images."""
        return -(-self.geometry.batch // self.lanes)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.blocks * self.parts

    @property
    def channels(self) -> Tiling:
        """The tiles of output channels."""
        return Tiling(self.geometry.outs, self.height)

    @property
    def places(self) -> int:
        """Places of the kernel."""
        return math.prod(line.kernel for line in self.geometry.lines)

    @property
    def packed_weights(self) -> int:
        """Elements of the packed weights."""
        return self.geometry.outs * self.geometry.channels * self.places

    @functools.cached_property
    def runs(self) -> list[Run]:
        """The columns in tiles."""
        line = self.geometry.lines[-1]
        return runs_of(seen_by_outputs(line), self.width, line.spread, line.stride)


@dataclass(frozen=True)
class LaneGradient:
    """A weight gradient with images in the lanes, whose sums are added up at the end.

    Args:
        geometry: The gradient as a convolution: "batch" counts input channels, "channels" images;
            the kernel is as large as an image of the cotangent.
        lanes: Images of a block.
        inputs: Input channels of a tile.
        columns: Columns of the weight in a tile.
        height: Output channels of a tile.
        width: Pixels of the cotangent whose code is written out.
        parts: Parts of the blocks, each with sums of its own, added in order afterwards.
        shares: Tasks of a part, which share the output channels.
    """

    geometry: Geometry
    lanes: int
    inputs: int
    columns: int
    height: int
    width: int
    parts: int
    shares: int

    @property
    def blocks(self) -> int:
        """Blocks of images."""
        return -(-self.geometry.channels // self.lanes)

    @property
    def tasks(self) -> int:
        """Number of tasks of the sums."""
        return self.parts * self.shares

    @property
    def places(self) -> int:
        """Places of the weight for a pair of channels."""
        return math.prod(line.out for line in self.geometry.lines)

    @property
    def part_sums(self) -> int:
        """Elements of one part's sums: [output][input][place]."""
        return self.geometry.outs * self.geometry.batch * self.places

    def runs(self, first: int, count: int) -> list[Run]:
        """The cotangent's columns in tiles, for ``count`` of the weight's from ``first``."""
        line = self.geometry.lines[-1]
        return runs_of(seen_by_places(line, first, count), self.width, line.spread, line.dilation)


def plan_lanes(geometry: Geometry, target: Target) -> LaneSums | None:
    """The plan of a convolution; None if channels are many, images few or large."""
    g = geometry
    lanes = target.lanes(size_of(g.element))
    line = g.lines[-1]
    inside, outside = (math.prod(getattr(x, name) for x in g.lines) for name in ("source", "out"))
    if not _fits(g, target, g.batch, (g.channels, g.outs), (inside, outside)):
        return None
    if math.prod(x.kernel for x in g.lines) < LEAST_PLACES:
        return None
    best: LaneSums | None = None
    least = math.inf
    for height in range(1, min(g.outs, target.registers) + 1):
        for width in range(1, min(line.out, target.registers) + 1):
            sums = height * width
            if sums + min(height, width) + 1 + (not target.has_fma) > target.registers:
                break
            plan = LaneSums(g, lanes, height, width, 1)
            many, size = plan.channels.tall
            forms = 1 + (many != plan.channels.count)
            if forms * sum(run.taps for run in plan.runs) * height > MOST_TAPS:
                continue
            time = 0.0
            for tiles, tall in ((many, size), (plan.channels.count - many, size - 1)):
                for run in plan.runs:
                    wide = len(run.seen)
                    step = max(tall * wide / 2, (tall + wide) / 2, LATENCY)
                    time += tiles * run.count * (run.taps / wide * step + 3.0)
            if time < least * 0.995:
                best, least = plan, time
    if best is None:
        return None
    parts = min(-(-TASKS // best.blocks), best.channels.count)
    return LaneSums(g, lanes, best.height, best.width, parts)


def plan_lane_gradient(geometry: Geometry, target: Target) -> LaneGradient | None:
    """The plan of a weight gradient; None as for ``plan_lanes``."""
    g = geometry
    lanes = target.lanes(size_of(g.element))
    line = g.lines[-1]
    inside, outside = (
        math.prod(getattr(x, name) for x in g.lines) for name in ("source", "kernel")
    )
    if not _fits(g, target, g.channels, (g.batch, g.outs), (inside, outside)):
        return None
    if math.prod(x.out for x in g.lines) < LEAST_PLACES:
        return None
    best: tuple[int, int, int] | None = None
    least = math.inf
    for columns in range(1, min(line.out, target.registers) + 1):
        wide = Tiling(line.out, columns)
        for inputs in range(1, min(g.batch, 4) + 1):
            for height in range(1, min(g.outs, target.registers) + 1):
                sums = columns * inputs * height
                if sums + height + 1 + (not target.has_fma) > target.registers:
                    break
                tiles = wide.count * -(-g.batch // inputs) * -(-g.outs // height)
                step = max(sums / 2, (columns * inputs + height) / 2, LATENCY)
                time = tiles * (step + 2.0 * sums / math.prod(x.kernel for x in g.lines))
                if time < least * 0.995:
                    best, least = (inputs, wide.size, height), time
    assert best is not None
    sums = math.prod(best)
    width = max(1, min(line.kernel, MOST_TAPS // (4 * sums)))
    even = line.spread // math.gcd(line.spread, line.dilation)
    width = max(even, width // even * even)
    blocks = -(-g.channels // lanes)
    parts = min(TASKS, blocks)
    shares = min(-(-TASKS // parts), Tiling(g.outs, best[2]).count)
    return LaneGradient(g, lanes, *best, width, parts, shares)


def _fits(
    g: Geometry,
    target: Target,
    images: int,
    channels: tuple[int, int],
    pixels: tuple[int, int],
) -> bool:
    """True if channels are few, lanes full and a block of both images stays in the cache."""
    size = size_of(g.element)
    lanes = target.lanes(size)
    if g.groups > 1 or lanes == 1 or min(channels) > MOST_CHANNELS or not images:
        return False
    if images / (-(-images // lanes) * lanes) < LEAST_FILLED:
        return False
    if g.lines[-1].kernel > MOST_COLUMNS and g.lines[-1].out > MOST_COLUMNS:
        return False
    block = sum(c * p for c, p in zip(channels, pixels, strict=True)) * lanes * size
    return block <= target.level2 * 3 // 4
