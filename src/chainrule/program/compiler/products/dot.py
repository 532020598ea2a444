"""The dot form: vectors along k, for operands that are contiguous along k.

A tile multiplies a few rows of A by a few columns of B vector by vector; at the end the lanes of
each sum are added by a tree of shuffles, which serves as many sums at once as a vector has lanes.
It wastes no lane however few columns there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of, vector
from chainrule.program.compiler.products.product import (
    Access,
    Epilogue,
    Product,
    minimum,
    quotient,
)
from chainrule.program.compiler.products.readers import LineReader
from chainrule.program.compiler.products.tiling import (
    Tiling,
    block_ranges,
    counting,
    frozen,
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
        depth_block: Steps of k in a block, a multiple of a turn's: as many as keep a block of
            columns in the first-level cache.
    """

    product: Product
    lanes: int
    tile_rows: int
    tile_columns: int
    unroll: int
    block_columns: int
    task_tiles: int
    task_columns: int
    depth_block: int

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

    @property
    def depth_blocks(self) -> int:
        """Number of blocks of k."""
        return max(1, -(-self.product.depth // self.depth_block))


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
        self.stride = -(-form.block_columns // form.lanes) * form.lanes + form.lanes
        rows = form.rows.size * (form.task_tiles if form.depth_blocks > 1 else 1)
        self.buffer = builder.stack(form.product.element, rows * self.stride)

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
                n = frozen(builder, builder.mul(block.index, builder.i64(form.block_columns)))
                self._block(n, form.block_columns, tiles)
        if rest and full:
            with builder.when(builder.compare("sgt", blocks[1], builder.i64(full))):
                self._block(builder.i64(full * form.block_columns), rest, tiles)
        elif rest:
            self._block(builder.i64(0), rest, tiles)

    def _block(self, n: Value, columns: int, tiles: tuple[Value, Value]) -> None:
        form, builder = self.form, self.builder
        tiling = Tiling(columns, form.tile_columns)
        zero, all_of_k = builder.i64(0), (builder.i64(0), builder.i64(form.product.depth))

        def across(body: Callable[[Value, int], None]) -> None:
            tiling.loop(builder, zero, builder.i64(tiling.count), body)

        def tile(m: Value, height: int) -> None:
            across(lambda c, w: self._store(m, height, n, c, w, all_of_k, zero))
            self._rows_epilogue(m, builder.i64(height), n, columns)

        if form.depth_blocks > 1:
            self._blocks_of_k(n, columns, tiles, across)
        elif tiling.count == 1:
            form.rows.loop(builder, *tiles, lambda m, h: self._direct(m, h, n, columns, all_of_k))
        else:
            form.rows.loop(builder, *tiles, tile)

    def _blocks_of_k(
        self,
        n: Value,
        columns: int,
        tiles: tuple[Value, Value],
        across: Callable[[Callable[[Value, int], None]], None],
    ) -> None:
        """All of the task's rows over one block of k after another; the sums wait in the buffer."""
        form, builder = self.form, self.builder
        first = form.rows.start_value(builder, tiles[0])
        height = builder.sub(form.rows.start_value(builder, tiles[1]), first)
        with counting(builder, builder.i64(0), height) as row:
            for place in range(0, self.stride, form.lanes):
                slot = self._slot(row.index, builder.i64(place))
                builder.store(builder.zero(self.type), slot)
        with builder.loop(0, form.depth_blocks) as block:
            start = builder.mul(block.index, builder.i64(form.depth_block))
            stop = minimum(
                builder, builder.add(start, builder.i64(form.depth_block)), form.product.depth
            )

            def tile(m: Value, size: int) -> None:
                row = builder.sub(m, first)
                across(lambda c, w: self._store(m, size, n, c, w, (start, stop), row, add=True))

            form.rows.loop(builder, *tiles, tile)
        self._rows_epilogue(first, height, n, columns)

    def _rows_epilogue(self, m: Value, height: Value, n: Value, columns: int) -> None:
        builder = self.builder
        with counting(builder, builder.i64(0), height) as row:
            for first, lanes in vectors_of(columns, self.form.lanes):
                x = builder.load(self.type, self._slot(row.index, builder.i64(first)))
                column = builder.add(n, builder.i64(first))
                self.epilogue(builder, builder.add(m, row.index), column, x, lanes)

    def _slot(self, row: Value, column: Value) -> Value:
        builder = self.builder
        place = builder.add(builder.mul(row, builder.i64(self.stride)), column)
        return builder.offset(self.buffer, place, self.form.product.element)

    def _direct(
        self, m: Value, height: int, n: Value, columns: int, bounds: tuple[Value, Value]
    ) -> None:
        builder = self.builder
        for i, sums in enumerate(self._sums(m, height, n, columns, *bounds)):
            for j, (first, lanes) in enumerate(vectors_of(columns, self.form.lanes)):
                row = builder.add(m, builder.i64(i))
                self.epilogue(builder, row, builder.add(n, builder.i64(first)), sums[j], lanes)

    def _store(
        self,
        m: Value,
        height: int,
        n: Value,
        column: Value,
        width: int,
        bounds: tuple[Value, Value],
        row: Value,
        *,
        add: bool = False,
    ) -> None:
        """Put a tile's sums into the buffer, or add them to what is there."""
        builder, lanes = self.builder, self.form.lanes
        totals = self._sums(m, height, builder.add(n, column), width, *bounds)
        for i, sums in enumerate(totals):
            for j, (first, used) in enumerate(vectors_of(width, lanes)):
                x = sums[j]
                place = builder.add(column, builder.i64(first))
                slot = self._slot(builder.add(row, builder.i64(i)), place)
                if add:
                    kept = [k if k < used else lanes + k for k in range(lanes)]
                    if used < lanes:  # the columns after these must not change
                        x = builder.shuffle(x, builder.zero(self.type), kept)
                    x = builder.add(builder.load(self.type, slot), x)
                builder.store(x, slot)

    def _sums(
        self, m: Value, height: int, n: Value, width: int, start: Value, stop: Value
    ) -> list[list[Value]]:
        """For each row of a tile, its sums over k from start to stop, in as few vectors as fit."""
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
        state = [*rows.start(start), *columns.start(start), *zeros]
        turns = quotient(builder, builder.sub(stop, start), step)
        if turns.name != "0":
            with counting(builder, builder.i64(0), turns, 1, state) as loop:
                loop.carry(*steps(loop.carried, step))
            state = loop.results
        rest = product.depth % step
        if rest and form.depth_blocks == 1:
            state = steps(state, rest)
        elif rest:
            # Only the last block has a rest: a loop that runs once or never.
            last = builder.compare("eq", stop, builder.i64(product.depth))
            with counting(
                builder, builder.i64(0), builder.convert("zext", last, "i64"), 1, state
            ) as t:
                t.carry(*steps(t.carried, rest))
            state = t.results
        sums = state[2:]
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
