"""The form of weight gradients: output channels in the lanes, sums over images and their pixels.

As an op, the gradient of a weight is a convolution whose kernel is as large as an image: its
"batch" are the input channels, its "channels" the images, and the cotangent is its weight. A tile
of sums (some input channels and places of the kernel, times vectors of output channels) stays in
registers over all pixels of some images: an input is broadcast, and the cotangent, turned so that
channels are side by side, is read in vectors.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Geometry, Line
from chainrule.program.compiler.convolutions.planes import Planes
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import size_of, vector
from chainrule.program.compiler.products.tiling import Tiling, frozen
from chainrule.program.compiler.target import Target

LATENCY = 5.0
LINE = 64  # bytes of a line of the cache
MOST_LINES = 8  # asked for at one row
BLOCK = 64  # channels of either side in a task
LEAST_PIXELS = 64  # for which a tile of sums is worth loading
MOST_PARTS = 16
PARTIAL_SUMS = 1 << 19  # elements of all parts' sums together, about


@dataclass(frozen=True)
class Correlation:
    """A convolution with a large kernel, cut into tasks and tiles.

    Args:
        geometry: The convolution: "batch" counts input channels, "channels" images.
        lanes: Elements of a vector.
        inputs: Input channels of a task; they divide the batch.
        out_vectors: Vectors of output channels of a task.
        images: Images of a stretch; they divide the channels.
        band: Rows of the kernel (along its first axis) of a stretch; they divide them.
        parts: Parts of the images, each with sums of its own, added in order afterwards.
        tile_inputs: Input channels of a tile.
        tile_rows: Rows of the result in a tile.
        tile_columns: Columns of the result in a tile.
        tile_vectors: Vectors of output channels in a tile.
    """

    geometry: Geometry
    lanes: int
    inputs: int
    out_vectors: int
    images: int
    band: int
    parts: int
    tile_inputs: int
    tile_rows: int
    tile_columns: int
    tile_vectors: int

    @property
    def out_blocks(self) -> int:
        """Blocks of output channels."""
        return -(-self.geometry.outs // (self.out_vectors * self.lanes))

    @property
    def in_blocks(self) -> int:
        """Blocks of input channels."""
        return self.geometry.batch // self.inputs

    @property
    def tasks(self) -> int:
        """Tasks of the sums of all parts."""
        return self.geometry.groups * self.out_blocks * self.in_blocks * self.parts

    @property
    def stretches(self) -> int:
        """Stretches of whole images."""
        return self.geometry.channels // self.images

    @property
    def bands(self) -> int:
        """Bands of the kernel."""
        return self.geometry.lines[0].kernel // self.band

    @property
    def places(self) -> int:
        """Elements of the result for one pair of channels."""
        return math.prod(line.out for line in self.geometry.lines)

    @property
    def pixels(self) -> int:
        """Places of the kernel in a band."""
        lines = self.geometry.lines
        return self.band * math.prod(line.kernel for line in lines[1:])

    @property
    def vectors(self) -> Tiling:
        """The tiles of a task's vectors of output channels."""
        return Tiling(self.out_vectors, self.tile_vectors)

    @property
    def rows(self) -> int:
        """Rows of pixels that the tiles of a stretch read, one tile after the other."""
        lines = self.geometry.lines
        tiles = self.vectors.count * Tiling(self.inputs, self.tile_inputs).count
        sizes = [1] * (len(lines) - 2) + [self.tile_rows, self.tile_columns]
        for line, size in zip(lines, sizes[-len(lines) :], strict=True):
            tiles *= Tiling(line.out, size).count
        return tiles * self.images * (self.pixels // lines[-1].kernel if len(lines) > 1 else 1)

    @property
    def padded_outs(self) -> int:
        """Output channels of all blocks, filled up to whole ones."""
        return self.out_blocks * self.out_vectors * self.lanes

    @property
    def part_sums(self) -> int:
        """Elements of one part's sums: [group][input][place][output]."""
        g = self.geometry
        return g.groups * g.batch * self.places * self.padded_outs

    @functools.cached_property
    def planes(self) -> Planes:
        """How padded inputs of a stretch lie in their buffer."""
        g = self.geometry
        lines = []
        for axis, line in enumerate(g.lines):
            seen = self.band if axis == 0 else line.kernel
            length = (line.out - 1) * line.stride + (seen - 1) * line.dilation + 1
            lines.append(Line(line.source, length, 1, before=line.before))
        if self.band < g.lines[0].kernel:  # more than one output makes a band of it
            lines[0] = Line(lines[0].source, lines[0].kernel, 2, before=lines[0].before)
        inner = Geometry(g.channels, g.groups, self.inputs, g.outs, tuple(lines), g.element)
        return Planes(inner, self.images, 1, self.lanes)

    @property
    def turned_size(self) -> int:
        """Elements of the buffer of turned cotangents: [tile][image][pixel][output]."""
        return self.images * self.pixels * self.out_vectors * self.lanes


def plan_correlation(geometry: Geometry, target: Target) -> Correlation | None:
    """The plan of a convolution with a large kernel; None if it spreads its input."""
    if any(line.spread > 1 for line in geometry.lines):
        return None
    lanes = target.lanes(size_of(geometry.element))
    all_vectors = -(-geometry.outs // lanes)
    blocks = -(-all_vectors // max(1, BLOCK // lanes))
    out_vectors = -(-all_vectors // blocks)
    inputs = max(n for n in range(1, BLOCK + 1) if geometry.batch % n == 0)
    tile = _choose_tile(geometry, inputs, out_vectors, target)
    images, band = 1, geometry.lines[0].kernel

    def made(parts: int = 1) -> Correlation:
        return Correlation(geometry, lanes, inputs, out_vectors, images, band, parts, *tile)

    def fits() -> bool:
        plan = made()
        size = size_of(geometry.element)
        tile = plan.pixels * plan.tile_vectors * lanes * size
        whole = (plan.planes.size + plan.turned_size) * size
        return tile <= target.level1 // 2 and whole <= target.level2 // 3

    while not fits() and band > 1 < len(geometry.lines):
        band = max(n for n in range(1, band) if geometry.lines[0].kernel % n == 0)
    if (made().planes.size + made().turned_size) * size_of(geometry.element) > target.level2:
        return None
    while images * made().pixels < LEAST_PIXELS:
        more = [n for n in range(images + 1, geometry.channels + 1) if geometry.channels % n == 0]
        if not more or band < geometry.lines[0].kernel:
            break
        images = more[0]
    plan = made()
    most = max(8, min(MOST_PARTS, PARTIAL_SUMS // max(1, plan.part_sums)))
    wanted = -(-MOST_PARTS // plan.tasks)
    return made(max(1, min(most, wanted, plan.stretches)))


def _choose_tile(
    geometry: Geometry, inputs: int, out_vectors: int, target: Target
) -> tuple[int, int, int, int]:
    """Inputs, rows, columns and vectors of the tile that takes the least time by count."""
    columns = geometry.lines[-1].out
    rows = geometry.lines[-2].out if len(geometry.lines) > 1 else 1
    best, least = (1, 1, 1, 1), math.inf
    for vectors in range(1, min(out_vectors, 4) + 1):
        most = target.registers - 1 - (not target.has_fma)
        while most > 1 and most * vectors + min(most, vectors) + 1 > target.registers:
            most -= 1
        wide = Tiling(columns, min(columns, most)).tall[1]
        shapes = [(1, 1, wide)]
        if wide == columns:
            shapes += [(1, n, wide) for n in range(2, min(rows, most // wide) + 1)]
            shapes += [(n, 1, wide) for n in range(2, min(inputs, most // wide) + 1)]
        for tall, rows_, wide_ in shapes:
            time = 1.0
            for total, size in ((inputs, tall), (rows, rows_), (columns, wide_)):
                time *= Tiling(total, size).count
            time *= Tiling(out_vectors, vectors).count
            sums = tall * rows_ * wide_ * vectors
            loads = (tall * rows_ * wide_ + vectors) / 2
            uneven = sum(
                total % size > 0
                for total, size in (
                    (inputs, tall), (rows, rows_), (columns, wide_), (out_vectors, vectors)
                )
            )  # fmt: skip
            time *= max(sums / 2, loads, LATENCY) * (1 + 0.01 * uneven)
            if time < least * 0.999:
                best, least = (tall, rows_, wide_, vectors), time
    return best


class CorrelationWriter:
    """Writes the loops over the tiles of a task.

    Args:
        plan: How.
        builder: The function.
        image: The buffer of padded inputs.
        turned: The buffer of turned cotangents.
    """

    def __init__(self, plan: Correlation, builder: Builder, image: Value, turned: Value) -> None:
        self.plan = plan
        self.b = builder
        self.image = image
        self.turned = turned
        self.type = vector(plan.geometry.element, plan.lanes)
        self.element = plan.geometry.element
        self.asked: list[tuple[Value, int, Value]] = []
        self.cursors = [builder.stack("i64", 1, 8) for _ in range(2)]

    def expect(self, following: Sequence[tuple[Value, int]]) -> None:
        """Ask for memory while the coming bands are added.

        Args:
            following: Address and bytes of what the next stretch reads, at most two pieces.
        """
        rows = self.plan.rows * self.plan.bands
        self.asked = [
            (base, min(MOST_LINES, -(-size // (LINE * rows))), cursor)
            for (base, size), cursor in zip(following, self.cursors, strict=False)
        ]
        for _, _, cursor in self.asked:
            self.b.store(self.b.i64(0), cursor)

    def write(self, sums: Value) -> None:
        """Add a band to the sums: those of the task's first input and output channel."""
        plan, b = self.plan, self.b
        zero = b.i64(0)

        def whole(tiling: Tiling, body: Callable[[Value, int], None]) -> None:
            tiling.loop(b, zero, b.i64(tiling.count), body)

        def vectors(first: Value, wide: int) -> None:
            whole(
                Tiling(plan.inputs, plan.tile_inputs),
                lambda c, n: self._rows(0, c, n, first, wide, zero, zero, sums),
            )

        whole(plan.vectors, vectors)

    def _rows(
        self,
        axis: int,
        channel: Value,
        channels: int,
        first: Value,
        wide: int,
        seen: Value,
        place: Value,
        sums: Value,
        rows: int = 1,
    ) -> None:
        """Loops over the result's rows; ``seen`` is where they read, ``place`` their number."""
        plan, b = self.plan, self.b
        lines = plan.geometry.lines
        line, stride = lines[axis], plan.planes.strides[axis + 1]
        size = 1
        if axis == len(lines) - 1:
            size = plan.tile_columns
        elif axis == len(lines) - 2:
            size = plan.tile_rows

        def body(start: Value, count: int) -> None:
            where = b.add(seen, b.mul(start, b.i64(stride * line.stride)))
            number = b.add(b.mul(place, b.i64(line.out)), start)
            if axis == len(lines) - 1:
                self._tile(channel, channels, rows, count, first, wide, where, number, sums)
                return
            self._rows(axis + 1, channel, channels, first, wide, where, number, sums, count)

        tiling = Tiling(line.out, size)
        tiling.loop(b, b.i64(0), b.i64(tiling.count), body)

    def _tile(
        self,
        channel: Value,
        channels: int,
        rows: int,
        columns: int,
        first: Value,
        wide: int,
        seen: Value,
        number: Value,
        sums: Value,
    ) -> None:
        plan, b = self.plan, self.b
        planes, lines = plan.planes, plan.geometry.lines
        padded = plan.padded_outs
        steps, places = [], []
        for c in range(channels):
            for r in range(rows):
                for x in range(columns):
                    step = c * planes.channel + x * lines[-1].stride
                    if len(lines) > 1:
                        step += r * planes.strides[-2] * lines[-2].stride
                    steps.append(step)
                    places.append(c * plan.places + r * lines[-1].out + x)
        start = b.add(b.mul(channel, b.i64(planes.channel)), seen)
        image = b.offset(self.image, start, self.element)
        block = b.mul(first, b.i64(plan.lanes * plan.images * plan.pixels))
        turned = b.offset(self.turned, block, self.element)
        own = b.add(b.mul(channel, b.i64(plan.places)), number)
        own = b.add(b.mul(own, b.i64(padded)), b.mul(first, b.i64(plan.lanes)))
        base = frozen(b, b.offset(sums, own, self.element))
        pointers = [
            b.offset(base, place * padded + v * plan.lanes, self.element)
            for place in places
            for v in range(wide)
        ]
        state = [b.load(self.type, pointer) for pointer in pointers]
        with b.loop(0, plan.images, 1, [image, turned, *state]) as loop:
            at, _, *_rest = loop.carried
            found = self._pixels(0, steps, wide, loop.carried)
            moved = frozen(b, b.offset(at, planes.strides[0], self.element))
            loop.carry(moved, *found[1:])
        for pointer, value in zip(pointers, loop.results[2:], strict=True):
            b.store(value, pointer)

    def _pixels(self, axis: int, steps: list[int], wide: int, state: list[Value]) -> list[Value]:
        """Loops over the kernel from the outside in; ``state``: input, cotangent and sums."""
        plan, b = self.plan, self.b
        lines = plan.geometry.lines
        count = plan.band if axis == 0 else lines[axis].kernel
        stride = plan.planes.strides[axis + 1] * lines[axis].dilation
        row = wide * plan.lanes
        if len(lines) == 1:
            self._ask()
        if axis < len(lines) - 1:
            with b.loop(0, count, 1, state) as loop:
                if axis == len(lines) - 2:
                    self._ask()
                inner = self._pixels(axis + 1, steps, wide, loop.carried)
                moved = frozen(b, b.offset(loop.carried[0], stride, self.element))
                loop.carry(moved, *inner[1:])
            return loop.results
        # neighbours would share loads of inputs, for which there are no registers
        shares = plan.tile_columns > 1 and lines[axis].dilation < plan.tile_columns
        unroll = 1 if shares else max(n for n in range(1, 5) if count % n == 0)
        with b.loop(0, count, unroll, state) as loop:
            at, turned, *sums = loop.carried
            for _ in range(unroll):
                sums = self._pixel(at, turned, steps, wide, sums)
                at = frozen(b, b.offset(at, stride, self.element))
                turned = frozen(b, b.offset(turned, row, self.element))
            loop.carry(at, turned, *sums)
        return loop.results

    def _ask(self) -> None:
        """Ask for some lines of what the next stretch reads."""
        b = self.b
        for base, lines, cursor in self.asked:
            place = b.load("i64", cursor)
            pointer = b.offset(base, place, "i8")
            for line in range(lines):
                b.prefetch(b.offset(pointer, line * LINE, "i8"), locality=2)
            b.store(b.add(place, b.i64(lines * LINE)), cursor)

    def _pixel(
        self, at: Value, turned: Value, steps: list[int], wide: int, sums: list[Value]
    ) -> list[Value]:
        plan, b = self.plan, self.b

        def cotangent(v: int) -> Value:
            return b.load(self.type, b.offset(turned, v * plan.lanes, self.element))

        def pixel(step: int) -> Value:
            return b.splat(b.load(self.element, b.offset(at, step, self.element)), plan.lanes)

        fresh = list(sums)
        if wide <= len(steps):
            kept = [cotangent(v) for v in range(wide)]
            for i, step in enumerate(steps):
                x = pixel(step)
                for v in range(wide):
                    fresh[i * wide + v] = b.fma(x, kept[v], fresh[i * wide + v])
            return fresh
        inputs = [pixel(step) for step in steps]
        for v in range(wide):
            y = cotangent(v)
            for i, x in enumerate(inputs):
                fresh[i * wide + v] = b.fma(x, y, fresh[i * wide + v])
        return fresh
