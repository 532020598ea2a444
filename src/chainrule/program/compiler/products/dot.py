"""The dot form: vectors along k, for operands that are contiguous along k.

A tile multiplies a few rows of A by a few columns of B vector by vector; at the end the lanes of
each sum are added by a tree of shuffles, which serves as many sums at once as a vector has lanes.
It wastes no lane however few columns there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from chainrule.program.compiler.llvm.builder import Builder, Value, lanes_of, vector
from chainrule.program.compiler.products.product import (
    Access,
    Epilogue,
    Product,
    minimum,
)
from chainrule.program.compiler.products.readers import LineReader
from chainrule.program.compiler.products.tiling import (
    Tiling,
    block_ranges,
    counting,
    split_task,
    vectors_of,
)


@dataclass(frozen=True)
class DotForm:
    """How one product is cut up; all of it fixed by shape and target.

    Args:
        product: The product.
        lanes: Elements of a vector.
        tile_rows: Rows of the largest tile.
        tile_columns: Columns of the largest tile.
        unroll: Vectors along k written out in one turn of the loop.
        block_columns: Columns whose sums are collected before the epilogue sees them; a multiple
            of the lanes, or all.
        task_tiles: Tiles of rows in a task.
        task_columns: Blocks of columns in a task.
    """

    product: Product
    lanes: int
    tile_rows: int
    tile_columns: int
    unroll: int
    block_columns: int
    task_tiles: int
    task_columns: int

    @property
    def rows(self) -> Tiling:
        """The tiles of rows."""
        return Tiling(self.product.rows, self.tile_rows)

    @property
    def column_count(self) -> int:
        """Number of blocks of columns, the last one perhaps narrower."""
        return -(-self.product.columns // self.block_columns)

    @property
    def row_blocks(self) -> int:
        """Number of tasks one below the other."""
        return -(-self.rows.count // self.task_tiles)

    @property
    def column_blocks(self) -> int:
        """Number of tasks side by side."""
        return -(-self.column_count // self.task_columns)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.row_blocks * self.column_blocks


def emit_dot(
    form: DotForm, builder: Builder, begin: Value, end: Value, access: Access, epilogue: Epilogue
) -> None:
    """Write tasks ``begin`` to ``end`` of a product in dot form."""
    if form.tasks:
        _Writer(form, builder, access, epilogue).tasks(begin, end)


class _Writer:
    def __init__(self, form: DotForm, builder: Builder, access: Access, epilogue: Epilogue) -> None:
        self.form = form
        self.builder = builder
        self.access = access
        self.epilogue = epilogue
        self.type = vector(form.product.element, form.lanes)
        # Whole vectors are stored, so a row ends with room for the lanes that nobody reads.
        self.stride = form.block_columns + form.lanes
        self.buffer = builder.stack(form.product.element, form.rows.size * self.stride)

    def tasks(self, begin: Value, end: Value) -> None:
        form, builder = self.form, self.builder
        with counting(builder, begin, end) as task:
            row_block, column_block = split_task(
                builder, task.index, form.row_blocks, form.column_blocks
            )
            tiles = block_ranges(builder, row_block, form.task_tiles, form.rows.count)
            blocks = block_ranges(builder, column_block, form.task_columns, form.column_count)
            self._blocks(blocks, tiles)

    def _blocks(self, blocks: tuple[Value, Value], tiles: tuple[Value, Value]) -> None:
        form, builder = self.form, self.builder
        full, rest = divmod(form.product.columns, form.block_columns)
        if full:
            last = minimum(builder, blocks[1], full) if rest else blocks[1]
            with counting(builder, blocks[0], last) as block:
                n = builder.mul(block.index, builder.i64(form.block_columns))
                self._block(n, form.block_columns, tiles)
        if rest and full:
            with builder.when(builder.compare("sgt", blocks[1], builder.i64(full))):
                self._block(builder.i64(full * form.block_columns), rest, tiles)
        elif rest:
            self._block(builder.i64(0), rest, tiles)

    def _block(self, n: Value, columns: int, tiles: tuple[Value, Value]) -> None:
        form, builder = self.form, self.builder
        tiling = Tiling(columns, form.tile_columns)
        if tiling.count == 1:
            form.rows.loop(builder, *tiles, lambda m, h: self._direct(m, h, n, columns))
            return

        def tile(m: Value, height: int) -> None:
            tiling.loop(
                builder,
                builder.i64(0),
                builder.i64(tiling.count),
                lambda c, width: self._buffered(m, height, n, c, width),
            )
            with builder.loop(0, height) as row:
                for first, lanes in vectors_of(columns, form.lanes):
                    x = builder.load(self.type, self._slot(row.index, builder.i64(first)))
                    column = builder.add(n, builder.i64(first))
                    self.epilogue(builder, builder.add(m, row.index), column, x, lanes)

        form.rows.loop(builder, *tiles, tile)

    def _slot(self, row: Value, column: Value) -> Value:
        builder = self.builder
        place = builder.add(builder.mul(row, builder.i64(self.stride)), column)
        return builder.offset(self.buffer, place, self.form.product.element)

    def _direct(self, m: Value, height: int, n: Value, columns: int) -> None:
        builder = self.builder
        for i, sums in enumerate(self._sums(m, height, n, columns)):
            for j, (first, lanes) in enumerate(vectors_of(columns, self.form.lanes)):
                row = builder.add(m, builder.i64(i))
                self.epilogue(builder, row, builder.add(n, builder.i64(first)), sums[j], lanes)

    def _buffered(self, m: Value, height: int, n: Value, column: Value, width: int) -> None:
        builder = self.builder
        totals = self._sums(m, height, builder.add(n, column), width)
        for i, sums in enumerate(totals):
            for j, x in enumerate(sums):
                place = builder.add(column, builder.i64(j * self.form.lanes))
                builder.store(x, self._slot(builder.i64(i), place))

    def _sums(self, m: Value, height: int, n: Value, width: int) -> list[list[Value]]:
        """For each row of a tile, its sums in as few vectors as they need."""
        form, builder, product = self.form, self.builder, self.form.product
        rows = LineReader(builder, product, self.access, m, height, form.lanes, of_a=True)
        columns = LineReader(builder, product, self.access, n, width, form.lanes, of_a=False)
        step = form.unroll * form.lanes

        def steps(state: list[Value], count: int) -> list[Value]:
            at_a, at_b, sums = state[:1], state[1:2], state[2:]
            for first, lanes in vectors_of(count, form.lanes):
                sums = self._step(
                    [partial(rows.read, at_a, i, first, lanes) for i in range(height)],
                    [partial(columns.read, at_b, j, first, lanes) for j in range(width)],
                    sums,
                )
            return [*rows.advanced(at_a, step), *columns.advanced(at_b, step), *sums]

        zeros = [builder.zero(self.type)] * (height * width)
        state = [*rows.start(), *columns.start(), *zeros]
        turns, rest = divmod(product.depth, step)
        if turns:
            with builder.loop(0, turns, 1, state) as loop:
                loop.carry(*steps(loop.carried, step))
            state = loop.results
        sums = steps(state, rest)[2:] if rest else state[2:]
        return [
            [
                add_lanes(builder, sums[i * width + first : i * width + first + lanes])
                for first, lanes in vectors_of(width, form.lanes)
            ]
            for i in range(height)
        ]

    def _step(
        self,
        rows: list[Callable[[], Value]],
        columns: list[Callable[[], Value]],
        sums: list[Value],
    ) -> list[Value]:
        """One multiply-add for every sum; the shorter side stays in registers meanwhile."""
        builder, width = self.builder, len(columns)
        fresh = list(sums)
        if len(rows) <= width:
            a = [read() for read in rows]
            for j, read in enumerate(columns):
                b = read()
                for i in range(len(rows)):
                    fresh[i * width + j] = builder.fma(a[i], b, sums[i * width + j])
        else:
            b_all = [read() for read in columns]
            for i, read in enumerate(rows):
                x = read()
                for j in range(width):
                    fresh[i * width + j] = builder.fma(x, b_all[j], sums[i * width + j])
        return fresh


def add_lanes(builder: Builder, vectors: Sequence[Value]) -> Value:
    """The sum of the lanes of vector i in lane i, by a tree of shuffles.

    Args:
        builder: The function being written.
        vectors: At most as many as each has lanes; the lanes after the last are undefined.
    """
    lanes = lanes_of(vectors[0].type)
    level: list[Value | None] = [*vectors]
    distance = 1
    while distance < lanes:
        level += [None] * (len(level) % 2)
        # Lanes are a binary number: the bit of ``distance`` says which of two vectors a lane of
        # the result belongs to.
        low = [i if not i & distance else i - distance + lanes for i in range(lanes)]
        high = [i + distance if not i & distance else i + lanes for i in range(lanes)]
        merged: list[Value | None] = []
        for x, y in zip(level[::2], level[1::2], strict=True):
            assert x is not None
            if y is None:
                ends = [[i if i < lanes else -1 for i in picks] for picks in (low, high)]
                parts = [builder.shuffle(x, builder.poison(x.type), picks) for picks in ends]
            else:
                parts = [builder.shuffle(x, y, picks) for picks in (low, high)]
            merged.append(builder.add(*parts))
        level = merged
        distance *= 2
    (total,) = level
    assert total is not None
    return total
