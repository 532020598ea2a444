"""Asks for memory ahead of time: the next images, and what the sums will be written to.

While a task multiplies, nothing else is read; without asking, its images and results would arrive
line by line in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.operands import Convolution, Epilogue
from chainrule.program.compiler.convolutions.planning import PixelPlan
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.expressions import Load
from chainrule.program.compiler.indices import Axis, axis_index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import size_of
from chainrule.program.compiler.lowering.elements import loads
from chainrule.program.compiler.products.product import maximum, minimum, quotient, remainder

LINE = 64  # bytes of a line of the cache
FITS_CACHE = 1 << 18  # bytes that stay in the second-level cache anyway
MOST = 12  # lines asked for at one tile


@dataclass(frozen=True)
class Region:
    """Lines of the cache that are asked for, in runs of equal length.

    Args:
        base: Address of the first run.
        runs: Their number.
        lines: Lines of each.
        stride: Bytes from one run to the next.
    """

    base: Value
    runs: int
    lines: int
    stride: int

    def line(self, b: Builder, number: Value) -> Value:
        """Address of a line, counted over all runs."""
        if self.runs == 1:
            return b.offset(self.base, b.mul(number, b.i64(LINE)), "i8")
        run = quotient(b, number, self.lines)
        inside = b.mul(remainder(b, number, self.lines), b.i64(LINE))
        return b.offset(self.base, b.add(b.mul(run, b.i64(self.stride)), inside), "i8")


@dataclass
class Asker:
    """Writes the requests of a task's tiles.

    Args:
        plan: How the convolution is cut up.
        builder: The function.
        memory: Where tensors lie.
        band: First output of the task along the first axis.
        following: What the next task reads; None: not asked for.
        results: What is written, and read beside it, at the result's places.
    """

    plan: PixelPlan
    builder: Builder
    memory: Memory
    band: Value
    following: Region | None
    results: Sequence[tuple[Tensor, bool]]

    def tile(self, first: Value, image: Value, out: Value, height: int, number: Value) -> None:
        """Ask at a tile.

        Args:
            first: The tile's first output channel within its group.
            image: Number of the image.
            out: The same channel among all groups'.
            height: Channels of the tile.
            number: The tile's number among those of the same channels.
        """
        g, tiles, b = self.plan.geometry, self.plan.form.tiles, self.builder
        if self.following is not None:
            lines = self.following.runs * self.following.lines
            each = min(MOST, -(-lines * height // (g.outs * tiles)))
            start = b.mul(first, b.i64(lines // g.outs))
            self._ask(self.following, start, each, number, write=False)
        for tensor, write in self.results:
            region = self._written(tensor, image, out, height)
            each = min(MOST, -(-region.runs * region.lines // tiles))
            self._ask(region, b.i64(0), each, number, write=write)

    def _written(self, tensor: Tensor, image: Value, out: Value, height: int) -> Region:
        """Where the results of a tile's channels lie."""
        g, b, size = self.plan.geometry, self.builder, size_of(self.plan.geometry.element)
        row = math.prod(line.out for line in g.lines[1:]) * size
        channel = g.lines[0].out * row
        place = b.add(b.mul(image, b.i64(g.groups * g.outs)), out)
        place = b.add(b.mul(place, b.i64(channel)), b.mul(self.band, b.i64(row)))
        base = b.offset(self.memory.pointers(tensor), place, "i8")
        if self.plan.bands == 1:
            return Region(base, 1, -(-height * channel // LINE), 0)
        return Region(base, height, -(-self.plan.form.planes.band * row // LINE), channel)

    def _ask(self, region: Region, start: Value, each: int, number: Value, *, write: bool) -> None:
        b = self.builder
        place = b.add(start, b.mul(number, b.i64(each)))
        for i in range(each):
            pointer = region.line(b, b.add(place, b.i64(i)))
            b.prefetch(pointer, write=write, locality=3 - (not write))


def following_images(
    convolution: Convolution,
    plan: PixelPlan,
    b: Builder,
    memory: Memory,
    number: Value,
    band: Value,
) -> Region | None:
    """What a task reads; None if it does not lie in pieces one after the other.

    Args:
        convolution: What is computed.
        plan: How.
        b: The function.
        memory: Where tensors lie.
        number: Of the task's block of images and group of channels.
        band: First output of the task along the first axis.
    """
    g = plan.geometry
    axes = [Axis(n) for n in (g.batch, g.groups, g.channels)]
    places = [Axis(line.source) for line in g.lines]
    load = convolution.image(axes[0], axes[1], axes[2], [axis_index(axis) for axis in places])
    assert isinstance(load, Load)
    row = math.prod(line.source for line in g.lines[1:])
    size = g.lines[0].source * row
    offset = memory.offset(load.tensor, load.indices)
    strides = offset.terms.get(axes[0]), offset.terms.get(axes[2], size)
    several = g.groups > 1 and plan.form.planes.images > 1
    dense = strides == (g.groups * g.channels * size, size)
    if load.tensor.bytes <= FITS_CACHE or several or not dense:
        return None
    bytes_, count = size_of(g.element), plan.form.planes.images * g.channels
    place = b.add(b.mul(number, b.i64(count * size)), b.i64(offset.constant))
    if plan.bands == 1:
        base = b.offset(memory.pointers(load.tensor), place, g.element)
        return Region(base, 1, count * size * bytes_ // LINE, 0)
    line = g.lines[0]
    seen = (plan.form.planes.band * line.spread - 1) * line.stride
    rows = min(line.source, (seen + (line.kernel - 1) * line.dilation) // line.spread + 1)
    first = b.sub(b.mul(band, b.i64(line.stride)), b.i64(line.before // line.spread))
    first = minimum(b, maximum(b, first, 0), line.source - rows)
    place = b.add(place, b.mul(first, b.i64(row)))
    base = b.offset(memory.pointers(load.tensor), place, g.element)
    return Region(base, count, -(-rows * row * bytes_ // LINE), size * bytes_)


def written_beside(
    epilogue: Epilogue, plan: PixelPlan, memory: Memory
) -> list[tuple[Tensor, bool]]:
    """Large tensors that lie as the result does: what is written, and what is read with it."""
    spread = plan.bands > 1 and plan.geometry.lines[0].spread > 1
    if spread or plan.form.planes.images > 1:
        return []
    places = tuple(axis_index(axis) for axis in epilogue.axes)
    plain = [(s.tensor, s.indices, True) for s in epilogue.stores]
    plain += [(x.tensor, x.indices, False) for e in epilogue.expressions for x in loads(e)]
    found: dict[Tensor, bool] = {}
    for tensor, indices, write in plain:
        dense = memory.offset(tensor, indices).terms.get(epilogue.axes[0]) == tensor.size // max(
            1, epilogue.result.shape[0]
        )
        if indices == places and dense and tensor.bytes > FITS_CACHE:
            found[tensor] = found.get(tensor, False) or write
    return list(found.items())
