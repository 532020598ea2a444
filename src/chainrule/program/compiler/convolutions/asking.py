"""Asks for memory ahead of time: the next images, and what the sums will be written to.

While a task multiplies, nothing else is read; without asking, its images and results would arrive
line by line in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.operands import Convolution, Epilogue
from chainrule.program.compiler.convolutions.planning import PixelPlan
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.expressions import Load
from chainrule.program.compiler.indices import Axis, axis_index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value, size_of
from chainrule.program.compiler.lowering.elements import loads

LINE = 64  # bytes of a line of the cache
FITS_CACHE = 1 << 18  # bytes that stay in the second-level cache anyway
MOST = 12  # lines asked for at one tile


@dataclass
class Asker:
    """Writes the requests of a task's tiles.

    Args:
        plan: How the convolution is cut up.
        builder: The function.
        memory: Where tensors lie.
        following: Address of the images of the next task; None: not asked for.
        results: What is written, and read beside it, at the result's places.
    """

    plan: PixelPlan
    builder: Builder
    memory: Memory
    following: Value | None
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
        g, form = self.plan.geometry, self.plan.form
        tiles = form.tiles
        b, size = self.builder, size_of(g.element)
        if self.following is not None:
            lines = self._image_size() * size // LINE
            each = min(MOST, -(-lines * height // (g.outs * tiles)))
            start = b.mul(first, b.i64(lines * LINE // g.outs))
            self._ask(self.following, start, each, number, write=False)
        pixels = 1
        for line in g.lines:
            pixels *= line.out
        for tensor, write in self.results:
            each = min(MOST, -(-height * pixels * size // (LINE * tiles)))
            place = b.add(b.mul(image, b.i64(g.groups * g.outs)), out)
            start = b.mul(place, b.i64(pixels * size))
            self._ask(self.memory.pointers(tensor), start, each, number, write=write)

    def _image_size(self) -> int:
        g = self.plan.geometry
        size = self.plan.form.planes.images * g.channels
        for line in g.lines:
            size *= line.source
        return size

    def _ask(self, base: Value, start: Value, each: int, number: Value, *, write: bool) -> None:
        b = self.builder
        place = b.add(start, b.mul(number, b.i64(each * LINE)))
        pointer = b.offset(base, place, "i8")
        for line in range(each):
            b.prefetch(b.offset(pointer, line * LINE, "i8"), write=write, locality=3 - (not write))


def following_images(
    convolution: Convolution,
    plan: PixelPlan,
    b: Builder,
    memory: Memory,
    block: Value,
    group: Value,
) -> Value | None:
    """Address of the next task's images; None if they do not lie one after the other."""
    g = plan.geometry
    axes = [Axis(n) for n in (g.batch, g.groups, g.channels)]
    places = [Axis(line.source) for line in g.lines]
    load = convolution.image(axes[0], axes[1], axes[2], [axis_index(axis) for axis in places])
    assert isinstance(load, Load)
    size = 1
    for line in g.lines:
        size *= line.source
    offset = memory.offset(load.tensor, load.indices)
    strides = offset.terms.get(axes[0]), offset.terms.get(axes[2], size)
    large = load.tensor.bytes > FITS_CACHE
    several = g.groups > 1 and plan.form.planes.images > 1
    dense = strides == (g.groups * g.channels * size, size)
    if not large or plan.bands > 1 or several or not dense:
        return None
    step = plan.form.planes.images * g.channels * size
    number = b.add(b.mul(block, b.i64(g.groups)), group)
    place = b.mul(b.add(number, b.i64(1)), b.i64(step))
    return b.offset(memory.pointers(load.tensor), b.add(place, b.i64(offset.constant)), g.element)


def written_beside(
    epilogue: Epilogue, plan: PixelPlan, memory: Memory
) -> list[tuple[Tensor, bool]]:
    """Large tensors that lie as the result does: what is written, and what is read with it."""
    if plan.bands > 1 or plan.form.planes.images > 1:
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
