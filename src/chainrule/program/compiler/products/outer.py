"""The outer form: tiles of rows times vectors of columns, kept in registers over all of k.

For each k, the tile's vectors of B are loaded once and an element of A is broadcast for every row;
rows x vectors multiply-adds follow. A long k is cut into blocks, so that the block of B stays in
the first-level cache while all tiles of a task's rows pass over it; the sums then wait in a buffer
on the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.products.product import (
    Access,
    Epilogue,
    Product,
    minimum,
    quotient,
    remainder,
)
from chainrule.program.compiler.products.readers import ColumnReader, RowReader
from chainrule.program.compiler.products.tiling import (
    Tiling,
    block_ranges,
    counting,
    frozen,
    known_range,
    split_task,
    vectors_of,
)

COLUMN_PARTS = 3  # tasks of a column of tiles, where columns alone are few to share


@dataclass(frozen=True)
class OuterForm:
    """How one product is cut up; all of it fixed by shape and target.

    Args:
        product: The product, as its operands lie after packing.
        lanes: Elements of a vector.
        tile_rows: Rows of the largest tile.
        tile_vectors: Vectors of a tile's row.
        unroll: Steps of k written out.
        depth_block: Steps of k in a block; a multiple of ``unroll``.
        task_tiles: Tiles of rows in a task.
        task_columns: Tiles of columns in a task.
        a_packed: A lies in the scratch memory, tile after tile, ``[depth][tile's rows]``.
    """

    product: Product
    lanes: int
    tile_rows: int
    tile_vectors: int
    unroll: int
    depth_block: int
    task_tiles: int
    task_columns: int
    a_packed: bool = False

    @property
    def rows(self) -> Tiling:
        """The tiles of rows."""
        return Tiling(self.product.rows, self.tile_rows)

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return self.tile_vectors * self.lanes

    @property
    def column_tiles(self) -> int:
        """Number of tiles of columns, the last one perhaps narrower."""
        return -(-self.product.columns // self.width)

    @property
    def row_blocks(self) -> int:
        """Number of tasks one below the other."""
        return -(-self.rows.count // self.task_tiles)

    @property
    def column_blocks(self) -> int:
        """Number of tasks side by side."""
        return -(-self.column_tiles // self.task_columns)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.row_blocks * self.column_blocks

    @property
    def depth_blocks(self) -> int:
        """Number of blocks of k."""
        return max(1, -(-self.product.depth // self.depth_block))


def emit_outer(
    form: OuterForm,
    builder: Builder,
    begin: Value,
    end: Value,
    access: Access,
    epilogue: Epilogue,
    inline: bool,
    together: bool = False,
) -> None:
    """Write tasks ``begin`` to ``end`` of a product in outer form.

    Args:
        form: The product, cut up.
        builder: The function being written.
        begin: First task.
        end: Task after the last.
        access: Where the operands are.
        epilogue: Called with the sums.
        inline: Write the epilogue once for every vector of a tile, on registers; else once for a
            row, in a loop over the tile's rows, from a buffer.
        together: Give the epilogue two neighbours in a row as one vector of twice the lanes.
    """
    if form.tasks:
        _Writer(form, builder, access, epilogue, inline, together).tasks(begin, end)


class _Writer:
    def __init__(
        self,
        form: OuterForm,
        builder: Builder,
        access: Access,
        epilogue: Epilogue,
        inline: bool,
        together: bool,
    ) -> None:
        self.form = form
        self.builder = builder
        self.access = access
        self.epilogue = epilogue
        self.together = together and form.lanes > 1
        self.inline = inline and form.depth_blocks == 1
        self.type = vector(form.product.element, form.lanes)
        rows = form.task_tiles * form.rows.size if form.depth_blocks > 1 else form.rows.size
        self.buffer = (
            None if self.inline else builder.stack(form.product.element, rows * form.width)
        )

    # -- tasks, columns, blocks of k ------------------------------------------------------------

    def tasks(self, begin: Value, end: Value) -> None:
        form, builder = self.form, self.builder
        with counting(builder, begin, end) as task:
            if form.row_blocks <= COLUMN_PARTS:
                # the parts of a column follow each other, so threads meet inside one at most
                row_block = remainder(builder, task.index, form.row_blocks)
                column_block = quotient(builder, task.index, form.row_blocks)
            else:
                row_block, column_block = split_task(
                    builder, task.index, form.row_blocks, form.column_blocks
                )
            tiles = block_ranges(builder, row_block, form.task_tiles, form.rows.count)
            columns = block_ranges(builder, column_block, form.task_columns, form.column_tiles)
            self._columns(columns, tiles)

    def _columns(self, columns: tuple[Value, Value], tiles: tuple[Value, Value]) -> None:
        form, builder = self.form, self.builder
        full, rest = divmod(form.product.columns, form.width)
        if full:
            last = minimum(builder, columns[1], full) if rest else columns[1]
            with counting(builder, columns[0], last) as column:
                n = frozen(builder, builder.mul(column.index, builder.i64(form.width)))
                self._panel(n, form.width, tiles)
        if rest and full:
            with builder.when(builder.compare("sgt", columns[1], builder.i64(full))):
                self._panel(builder.i64(full * form.width), rest, tiles)
        elif rest:
            self._panel(builder.i64(0), rest, tiles)

    def _panel(self, n: Value, columns: int, tiles: tuple[Value, Value]) -> None:
        form, builder = self.form, self.builder
        depth = form.product.depth
        if form.depth_blocks == 1:
            bounds = builder.i64(0), builder.i64(depth)
            form.rows.loop(
                builder, *tiles, lambda m, h: self._whole_tile(m, h, n, columns, *bounds)
            )
            return
        first = form.rows.start_value(builder, tiles[0])
        height = builder.sub(form.rows.start_value(builder, tiles[1]), first)
        self._clear(height)
        with builder.loop(0, form.depth_blocks) as block:
            start = builder.mul(block.index, builder.i64(form.depth_block))
            stop = minimum(builder, builder.add(start, builder.i64(form.depth_block)), depth)
            form.rows.loop(
                builder,
                *tiles,
                lambda m, h: self._partial_tile(m, h, n, columns, start, stop, first),
            )
        self._rows_epilogue(first, height, n, columns)

    def _clear(self, height: Value) -> None:
        builder = self.builder
        with counting(builder, builder.i64(0), height) as row:
            for j in range(self.form.tile_vectors):
                builder.store(builder.zero(self.type), self._slot(row.index, j))

    def _slot(self, row: Value, j: int) -> Value:
        form, builder = self.form, self.builder
        assert self.buffer is not None
        place = builder.mul(row, builder.i64(form.width))
        return builder.offset(
            self.buffer,
            builder.add(place, builder.i64(j * form.lanes)),
            form.product.element,
        )

    # -- one tile -----------------------------------------------------------------------------

    def _whole_tile(
        self, m: Value, height: int, n: Value, columns: int, start: Value, stop: Value
    ) -> None:
        form, builder = self.form, self.builder
        parts = list(vectors_of(columns, form.lanes))
        zeros = [builder.zero(self.type)] * (height * len(parts))
        sums = self._sums(m, height, n, columns, start, stop, zeros)
        if self.inline:
            for i in range(height):
                row = builder.add(m, builder.i64(i))
                self._row_epilogue(row, n, columns, sums[i * len(parts) : (i + 1) * len(parts)])
            return
        for i in range(height):
            for j in range(len(parts)):
                builder.store(sums[i * len(parts) + j], self._slot(builder.i64(i), j))
        self._rows_epilogue(m, builder.i64(height), n, columns)

    def _partial_tile(
        self,
        m: Value,
        height: int,
        n: Value,
        columns: int,
        start: Value,
        stop: Value,
        first: Value,
    ) -> None:
        builder = self.builder
        vectors = len(list(vectors_of(columns, self.form.lanes)))
        row = builder.sub(m, first)
        slots = [
            self._slot(builder.add(row, builder.i64(i)), j)
            for i in range(height)
            for j in range(vectors)
        ]
        before = [builder.load(self.type, slot) for slot in slots]
        after = self._sums(m, height, n, columns, start, stop, before)
        for x, slot in zip(after, slots, strict=True):
            builder.store(x, slot)

    def _rows_epilogue(self, m: Value, height: Value, n: Value, columns: int) -> None:
        builder = self.builder
        with counting(builder, builder.i64(0), height) as row:
            count = len(list(vectors_of(columns, self.form.lanes)))
            sums = [builder.load(self.type, self._slot(row.index, j)) for j in range(count)]
            self._row_epilogue(builder.add(m, row.index), n, columns, sums)

    def _row_epilogue(self, row: Value, n: Value, columns: int, sums: list[Value]) -> None:
        builder, wide = self.builder, self.form.lanes
        parts = list(vectors_of(columns, wide))
        while parts:
            (first, lanes), *rest = parts
            x, *others = sums
            if self.together and rest and rest[0][1] == wide:
                x, lanes = builder.shuffle(x, others[0], range(2 * wide)), 2 * wide
                rest, others = rest[1:], others[1:]
            self.epilogue(builder, row, builder.add(n, builder.i64(first)), x, lanes)
            parts, sums = rest, others

    def _sums(
        self,
        m: Value,
        height: int,
        n: Value,
        columns: int,
        start: Value,
        stop: Value,
        sums: list[Value],
    ) -> list[Value]:
        """The sums over k from start to stop, added to ``sums``, which are in the order of rows."""
        form, builder = self.form, self.builder
        product, unroll = form.product, form.unroll
        packed = None
        if form.a_packed and self.access.scratch is not None:
            place = builder.mul(m, builder.i64(product.depth))
            packed = builder.offset(self.access.scratch, place, product.element)
        rows = RowReader(builder, product, self.access, m, height, packed)
        vectors = ColumnReader(builder, product, self.access, n, columns, form.lanes)
        cursors = [*rows.start(start), *vectors.start(start)]
        of_rows = len(rows.start(start))
        lead = len(cursors)

        def steps(state: list[Value], count: int) -> list[Value]:
            at_a, at_b = state[:of_rows], state[of_rows:lead]
            read_a, read_b = rows.at(at_a), vectors.at(at_b)
            carried = state[lead:]
            for u in range(count):
                carried = self._step(
                    [partial(read_a, i, u) for i in range(height)],
                    [partial(read_b, j, u) for j in range(vectors.count)],
                    carried,
                )
            return [*rows.advanced(at_a, count), *vectors.advanced(at_b, count), *carried]

        state = [*cursors, *sums]
        known = known_range(start, stop)
        if known is not None:
            turns, rest = divmod(len(known), unroll)
            if turns:
                state = self._turns(m, height, n, turns, state, lambda x: steps(x, unroll))
            state = steps(state, rest) if rest else state
            return state[lead:]
        length = builder.sub(stop, start)
        rest_value = remainder(builder, length, unroll)
        with builder.loop(start, builder.sub(stop, rest_value), unroll, state) as loop:
            loop.carry(*steps(loop.carried, unroll))
        state = loop.results
        if product.depth % unroll:
            with builder.loop(builder.i64(0), rest_value, 1, state) as tail:
                tail.carry(*steps(tail.carried, 1))
            state = tail.results
        return state[lead:]

    def _step(
        self,
        rows: list[Callable[[], Value]],
        columns: list[Callable[[], Value]],
        sums: list[Value],
    ) -> list[Value]:
        """One multiply-add for every sum; the shorter side stays in registers meanwhile."""
        builder, lanes, width = self.builder, self.form.lanes, len(columns)
        fresh = list(sums)
        if len(rows) < width:
            a_all = [builder.splat(read(), lanes) for read in rows]
            for j, read in enumerate(columns):
                x = read()
                for i, a in enumerate(a_all):
                    fresh[i * width + j] = builder.fma(a, x, sums[i * width + j])
        else:
            b_all = [read() for read in columns]
            for i, read in enumerate(rows):
                x = builder.splat(read(), lanes)
                for j, b in enumerate(b_all):
                    fresh[i * width + j] = builder.fma(x, b, sums[i * width + j])
        return fresh

    def _turns(
        self,
        m: Value,
        height: int,
        n: Value,
        turns: int,
        state: list[Value],
        turn: Callable[[list[Value]], list[Value]],
    ) -> list[Value]:
        """The loop over k, which asks for what the epilogue of the following tile will read.

        It asks for a row in each of as many parts as there are rows: in every turn that would cost
        more than it brings, and all at once the rows would be too many for short loops.
        """
        builder, ask = self.builder, self.access.prefetch
        if ask is None or turns < height:
            with builder.loop(0, turns, 1, state) as loop:
                loop.carry(*turn(loop.carried))
            return loop.results
        with builder.loop(0, height, 1, state) as part:
            ask(builder, builder.add(builder.add(m, builder.i64(height)), part.index), n)
            before = builder.mul(part.index, builder.i64(turns))
            first = quotient(builder, before, height)
            last = quotient(builder, builder.add(before, builder.i64(turns)), height)
            with builder.loop(first, last, 1, part.carried) as loop:
                loop.carry(*turn(loop.carried))
            part.carry(*loop.results)
        return part.results
