"""The form with pixels in the lanes: some output channels times some vectors of pixels.

A weight is broadcast and multiplied with vectors of the padded image, which begin anywhere; so
every size, padding and dilation runs the same code, and no channel count wastes a lane. The sums of
a few channels over all pixels of the task lie in a buffer, from which what follows reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Geometry, Line
from chainrule.program.compiler.convolutions.planes import Planes
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.llvm.types import size_of, vector
from chainrule.program.compiler.products.product import maximum, minimum, quotient
from chainrule.program.compiler.products.tiling import Tiling, frozen
from chainrule.program.compiler.target import Target

MOST_VECTORS = 12
WORTH_SKIPPING = 0.95  # share of the rows of taps that see anything
LATENCY = 5.0  # cycles until a sum can be added to, and what is lost with so few sums


@dataclass(frozen=True)
class Pixels:
    """How the sums of one task are cut into register tiles.

    Args:
        planes: Where the images lie.
        lanes: Elements of a vector.
        height: Output channels of a tile.
        rows: Rows of pixels in a tile.
        vectors: Vectors of a row in a tile.
        flat: Rows follow each other without gaps, places between them are computed too; else each
            row is cut into vectors by itself.
    """

    planes: Planes
    lanes: int
    height: int
    rows: int
    vectors: int
    flat: bool

    @property
    def geometry(self) -> Geometry:
        """The convolution."""
        return self.planes.geometry

    @property
    def skips(self) -> bool:
        """True if rows of taps that see nothing but zeros are left out."""
        return skips_rows(self.planes) and not self.flat and self.rows == 1

    @property
    def channels(self) -> Tiling:
        """The tiles of output channels."""
        return Tiling(self.geometry.outs, self.height)

    @property
    def dense(self) -> bool:
        """True if the sums of an image, or of a band, follow each other without gaps."""
        lines = self.geometry.lines
        return self.flat and self.planes.gathered and len(lines) == 2 and lines[0].spread == 1

    @property
    def pitch(self) -> int:
        """Elements of the image's buffer from one row to the next."""
        return self.planes.strides[-2]

    @property
    def all_rows(self) -> int:
        """Rows of pixels, those between images too."""
        return 1 if self.flat else rows_of(self.planes)

    @property
    def all_vectors(self) -> int:
        """Vectors of a row."""
        return vectors_of_row(self.planes, self.lanes, self.flat)

    @property
    def tiles(self) -> int:
        """Tiles of pixels of a task, for each tile of channels."""
        return -(-self.all_rows // self.rows) * -(-self.all_vectors // self.vectors)

    @property
    def row_size(self) -> int:
        """Elements of the buffer of sums from one row to the next."""
        return self.pitch if self.flat else self.all_vectors * self.lanes

    @property
    def sums(self) -> int:
        """Elements of the buffer of sums for one channel and one phase of the columns."""
        return self.all_rows * self.all_vectors * self.lanes

    @property
    def buffer_size(self) -> int:
        """Elements of the buffer of sums."""
        phases = self.geometry.lines[-1].spread
        return phases * self.channels.tall[1] * self.sums + 2 * self.lanes

    def sum_strides(self) -> tuple[int, ...]:
        """Elements of the buffer of sums from image to image, row to row, ..., column to column."""
        found = [stride // self.pitch * self.row_size for stride in self.planes.strides[:-1]]
        return (*found, 1)


def rows_of(planes: Planes) -> int:
    """Rows of pixels of a task, those between images and slices too."""
    strides = planes.strides
    last = (planes.images - 1) * strides[0]
    for axis in range(len(planes.geometry.lines) - 1):
        last += (planes.count(axis) - 1) * strides[axis + 1]
    return last // strides[-2] + 1


def vectors_of_row(planes: Planes, lanes: int, flat: bool) -> int:
    """Vectors that cover a row of pixels; of all rows as one."""
    columns = planes.count(len(planes.geometry.lines) - 1)
    if flat:
        columns += (rows_of(planes) - 1) * planes.strides[-2]
    return -(-columns // lanes)


def skips_rows(planes: Planes) -> bool:
    """True if it is easily said which rows of taps see nothing but zeros: of one whole image."""
    lines = planes.geometry.lines
    line = lines[0]
    plain = line.stride == line.spread == line.dilation == 1
    whole = len(lines) == 2 and planes.images == 1 and plain
    return whole and _rows_seen(line) < WORTH_SKIPPING


def _rows_seen(line: Line) -> float:
    """Share of the rows of taps that are left if those that see nothing are not counted."""
    seen = sum(
        max(0, min(line.kernel, line.source + line.before - y) - max(0, line.before - y))
        for y in range(line.out)
    )
    return seen / (line.kernel * line.out)


def choose_tile(planes: Planes, target: Target) -> tuple[Pixels, float]:
    """The tile that takes the least time, by count, and cycles of a task for one step of depth."""
    lanes = target.lanes(size_of(planes.geometry.element))
    flat_vectors = vectors_of_row(planes, lanes, True)
    row_vectors = vectors_of_row(planes, lanes, False)
    rows = rows_of(planes)
    seen = _rows_seen(planes.geometry.lines[0]) if skips_rows(planes) else 1.0
    best: tuple[int, int, int, bool] | None = None
    least = math.inf
    for height in range(1, min(planes.geometry.outs, target.registers - 2) + 1):
        channels = Tiling(planes.geometry.outs, height)
        for count in range(1, MOST_VECTORS + 1):
            needed = height * count + min(height, count) + 1 + (not target.has_fma)
            if needed > target.registers:
                break
            shapes = [(1, min(count, flat_vectors), True)]
            for tall in range(1, 0 if planes.gathered else count + 1):
                if count % tall == 0 and tall <= rows:
                    shapes.append((tall, min(count // tall, row_vectors), False))
            for tall, wide, flat in shapes:
                tiles = -(-flat_vectors // wide)
                if not flat:
                    tiles = -(-rows // tall) * -(-row_vectors // wide)
                time = _cycles(channels, tall * wide, tiles)
                if tall == 1 and not flat:
                    time *= seen
                if time < least * 0.995:
                    best, least = (height, tall, wide, flat), time
    assert best is not None
    return Pixels(planes, lanes, *best), least


def _cycles(channels: Tiling, vectors: int, tiles: int) -> float:
    """Cycles of one step of depth over a task: multiply-adds, loads or latency decide."""
    many, size = channels.tall
    total = 0.0
    for count, height in ((many, size), (channels.count - many, size - 1)):
        sums = height * vectors
        step = max(sums / 2, (height + 1.3 * vectors) / 2, LATENCY, (sums + height + vectors) / 5.5)
        total += count * tiles * (step + 0.15)
    return total * (1.02 if channels.count != many else 1.0)


@dataclass(frozen=True)
class WeightSteps:
    """Elements from one weight of a tile to another.

    Args:
        out: To the next output channel.
        column: To the next place along the last axis.
        row: To the next row of places.
        channel: To the next input channel.
    """

    out: int
    column: int
    row: int
    channel: int


class TileWriter:
    """Writes the sums of a tile of channels for one phase of the outputs.

    Args:
        form: How.
        module: Takes tables of offsets.
        builder: The function.
        image: The image's buffer.
        sums: The buffer of sums.
    """

    def __init__(
        self, form: Pixels, module: Module, builder: Builder, image: Value, sums: Value
    ) -> None:
        self.form = form
        self.module = module
        self.b = builder
        self.image = image
        self.sums = sums
        self.type = vector(form.geometry.element, form.lanes)
        self.band = builder.i64(0)

    def write(
        self,
        phase: tuple[int, ...],
        height: int,
        weights: Value,
        steps: WeightSteps,
        begin: Callable[[Value], None] | None = None,
    ) -> None:
        """The sums of ``height`` channels.

        Args:
            phase: Of the outputs.
            height: Channels.
            weights: The first of their weights.
            steps: How the others lie.
            begin: Called with each tile's number before its code.
        """
        form, b = self.form, self.b
        tall, wide = form.rows, form.vectors

        across_count = -(-form.all_vectors // wide)

        def tile(row: Value, number: Value) -> None:
            if begin is not None:
                before = b.mul(quotient(b, row, tall), b.i64(across_count))
                begin(b.add(before, quotient(b, number, wide)))
            place = b.add(b.mul(row, b.i64(form.pitch)), b.mul(number, b.i64(form.lanes)))
            image = frozen(b, b.offset(self.image, place, form.geometry.element))
            found = self._sums(phase, height, image, weights, steps, row)
            own = b.add(b.mul(row, b.i64(form.row_size)), b.mul(number, b.i64(form.lanes)))
            start = frozen(b, b.offset(self.sums, own, form.geometry.element))
            for i in range(height):
                for j in range(tall * wide):
                    step = phase[-1] * form.channels.tall[1] * form.sums + i * form.sums
                    step += j // wide * form.row_size + j % wide * form.lanes
                    b.store(
                        found[i * tall * wide + j], b.offset(start, step, form.geometry.element)
                    )

        def across(row: Value) -> None:
            self._covered(form.all_vectors, wide, lambda number: tile(row, number))

        self._covered(form.all_rows, tall, across)

    def _covered(self, total: int, size: int, body: Callable[[Value], None]) -> None:
        """Tiles over ``total`` things; the last one reaches back where they do not fit."""
        b = self.b
        if total <= size:
            body(b.i64(0))
            return
        with b.loop(0, total, size) as loop:
            start = loop.index if total % size == 0 else minimum(b, loop.index, total - size)
            body(start)

    def _sums(
        self,
        phase: tuple[int, ...],
        height: int,
        image: Value,
        weights: Value,
        steps: WeightSteps,
        number: Value,
    ) -> list[Value]:
        form, b = self.form, self.b
        planes = form.planes
        leads, columns = planes.lead_offsets(phase), planes.column_offsets(phase)
        zeros = [b.zero(self.type)] * (height * form.rows * form.vectors)
        if not leads or not columns:
            return zeros
        element = form.geometry.element

        def row(offset: Value | int, cursors: list[Value]) -> list[Value]:
            """One row of taps: new weights and sums."""
            seen, taken, *sums = cursors
            start = seen if offset == 0 else b.offset(seen, offset, element)
            sums = self._taps(start, columns, taken, height, steps, sums)
            return [frozen(b, b.offset(taken, steps.row, element)), *sums]

        with b.loop(0, form.geometry.channels, 1, [image, weights, *zeros]) as channel:
            seen, *state = channel.carried
            if len(leads) == 1:
                behind = frozen(b, b.offset(state[0], steps.channel, element))
                state = [behind, *row(leads[0], [seen, *state])[1:]]
            else:
                table = self._table(leads)
                taken, *sums = state
                begin, end = self._seen(number) if form.skips else (0, len(leads))
                if isinstance(begin, Value):
                    start = b.offset(taken, b.mul(begin, b.i64(steps.row)), element)
                    sums = [start, *sums]
                else:
                    sums = state
                with b.loop(begin, end, 1, sums) as lead:
                    offset = b.load("i64", b.offset(table, lead.index, "i64"))
                    lead.carry(*row(offset, [seen, *lead.carried]))
                behind = frozen(b, b.offset(taken, steps.channel, element))
                state = [behind, *lead.results[1:]]
            channel.carry(frozen(b, b.offset(seen, planes.channel, element)), *state)
        return channel.results[2:]

    def _seen(self, number: Value) -> tuple[Value, Value]:
        """First and last (exclusive) row of taps that sees a row of the image."""
        b, line = self.b, self.form.geometry.lines[0]
        row = b.add(self.band, number)
        first = maximum(b, b.sub(b.i64(line.before), row), 0)
        return first, minimum(b, b.sub(b.i64(line.source + line.before), row), line.kernel)

    def _table(self, offsets: list[int]) -> Value:
        numbers = ", ".join(f"i64 {n}" for n in offsets)
        name = f"offsets.{'.'.join(map(str, offsets))}"
        self.module.add_global(name, f"internal constant [{len(offsets)} x i64] [{numbers}]")
        return Value("ptr", f"@{name}")

    def _taps(
        self,
        image: Value,
        columns: list[int],
        weights: Value,
        height: int,
        steps: WeightSteps,
        sums: list[Value],
    ) -> list[Value]:
        """Multiply-adds of one row of taps."""
        form, b = self.form, self.b
        element, count = form.geometry.element, form.rows * form.vectors
        fresh = list(sums)
        for tap, column in enumerate(columns):

            def pixels(j: int, column: int = column) -> Value:
                step = j // form.vectors * form.pitch + j % form.vectors * form.lanes
                return b.load(self.type, b.offset(image, column + step, element))

            def weight(i: int, tap: int = tap) -> Value:
                place = tap * steps.column + i * steps.out
                one = b.load(element, b.offset(weights, place, element))
                return b.splat(one, form.lanes)

            if count <= height:
                kept = [pixels(j) for j in range(count)]
                for i in range(height):
                    w = weight(i)
                    for j in range(count):
                        fresh[i * count + j] = b.fma(w, kept[j], fresh[i * count + j])
            else:
                kept = [weight(i) for i in range(height)]
                for j in range(count):
                    x = pixels(j)
                    for i in range(height):
                        fresh[i * count + j] = b.fma(kept[i], x, fresh[i * count + j])
        return fresh
