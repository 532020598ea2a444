"""The outer form: tiles of rows times vectors of columns, kept in registers over all of k.

For each k, the tile's vectors of B are loaded once and an element of A is broadcast for every row;
rows x vectors multiply-adds follow. A long k is cut into blocks, so that the block of B stays in
the first-level cache while all tiles of a task's rows pass over it; the sums then wait in a buffer
on the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chainrule.program.compiler.llvm.builder import Builder, Value, vector
from chainrule.program.compiler.products.product import (
    Access,
    Epilogue,
    Product,
    minimum,
    quotient,
    remainder,
)
from chainrule.program.compiler.products.tiling import (
    Tiling,
    block_ranges,
    counting,
    split_task,
    vectors_of,
)


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
    """
    if form.tasks:
        _Writer(form, builder, access, epilogue, inline).tasks(begin, end)


class _Writer:
    def __init__(
        self, form: OuterForm, builder: Builder, access: Access, epilogue: Epilogue, inline: bool
    ) -> None:
        self.form = form
        self.builder = builder
        self.access = access
        self.epilogue = epilogue
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
                self._panel(builder.mul(column.index, builder.i64(form.width)), form.width, tiles)
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
                for j, (first, lanes) in enumerate(parts):
                    row, column = (
                        builder.add(m, builder.i64(i)),
                        builder.add(n, builder.i64(first)),
                    )
                    self.epilogue(builder, row, column, sums[i * len(parts) + j], lanes)
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
            for j, (first, lanes) in enumerate(vectors_of(columns, self.form.lanes)):
                x = builder.load(self.type, self._slot(row.index, j))
                column = builder.add(n, builder.i64(first))
                self.epilogue(builder, builder.add(m, row.index), column, x, lanes)

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
        rows = _RowReader(form, builder, self.access, m, height)
        vectors = _ColumnReader(form, builder, self.access, n, columns)

        def steps(k: Value, count: int, carried: list[Value]) -> list[Value]:
            read_a, read_b = rows.at(k), vectors.at(k)
            for u in range(count):
                b = [read_b(j, u) for j in range(vectors.count)]
                fresh: list[Value] = []
                for i in range(height):
                    a = builder.splat(read_a(i, u), form.lanes)
                    for j in range(vectors.count):
                        fresh.append(builder.fma(a, b[j], carried[len(fresh)]))
                carried = fresh
            return carried

        if start.name.isdigit() and stop.name.isdigit():
            return self._static_steps(steps, m, height, n, int(stop.name), sums)
        length = builder.sub(stop, start)
        whole = builder.sub(length, remainder(builder, length, form.unroll))
        middle = builder.add(start, whole)
        with builder.loop(start, middle, form.unroll, sums) as loop:
            loop.carry(*steps(loop.index, form.unroll, loop.carried))
        sums = loop.results
        if form.product.depth % form.unroll:
            with builder.loop(middle, stop, 1, sums) as tail:
                tail.carry(*steps(tail.index, 1, tail.carried))
            sums = tail.results
        return sums

    def _static_steps(
        self,
        steps: Callable[[Value, int, list[Value]], list[Value]],
        m: Value,
        height: int,
        n: Value,
        depth: int,
        sums: list[Value],
    ) -> list[Value]:
        form, builder = self.form, self.builder
        turns, rest = divmod(depth, form.unroll)
        if turns:
            with builder.loop(0, turns * form.unroll, form.unroll, sums) as loop:
                if self.access.prefetch is not None:
                    # Spread over the turns: the rows of the tile that follows, each at least once.
                    ahead = quotient(
                        builder, builder.mul(loop.index, builder.i64(height)), turns * form.unroll
                    )
                    row = builder.add(builder.add(m, builder.i64(height)), ahead)
                    self.access.prefetch(builder, row, n)
                loop.carry(*steps(loop.index, form.unroll, loop.carried))
            sums = loop.results
        return steps(builder.i64(turns * form.unroll), rest, sums) if rest else sums


class _RowReader:
    """Reads single elements of A for the rows of one tile."""

    def __init__(
        self, form: OuterForm, builder: Builder, access: Access, m: Value, height: int
    ) -> None:
        self.form, self.builder, self.access, self.m = form, builder, access, m
        product = form.product
        self.type = product.element if form.a_packed else product.a_type
        self.bases: list[Value] = []
        self.row_stride: int | None = product.a_row_stride
        self.depth_stride: int | None = product.a_depth_stride
        if form.a_packed:
            assert access.scratch is not None
            place = builder.mul(m, builder.i64(product.depth))
            self.bases = [builder.offset(access.scratch, place, product.element)]
            self.row_stride, self.depth_stride = 1, height
        elif self.row_stride is None:
            self.bases = [access.a(builder, builder.add(m, builder.i64(i))) for i in range(height)]
        elif self.depth_stride is not None:
            self.bases = [access.a(builder, m)]

    def at(self, k: Value) -> Callable[[int, int], Value]:
        """A function of (row, step): A[m + row, k + step]."""
        builder, product = self.builder, self.form.product
        if self.depth_stride is None:
            return self._by_column(k)
        if product.a_depth_panel is not None and not self.form.a_packed:
            inside = remainder(builder, k, product.a_depth_panel)
            panel = quotient(builder, k, product.a_depth_panel)
            place = builder.add(
                builder.mul(panel, builder.i64(product.a_depth_panel_stride)), inside
            )
        else:
            place = builder.mul(k, builder.i64(self.depth_stride))
        pointers = [builder.offset(base, place, self.type) for base in self.bases]

        def read(i: int, u: int) -> Value:
            pointer = pointers[i] if self.row_stride is None else pointers[0]
            step = u * (self.depth_stride or 0) + i * (self.row_stride or 0)
            return self._load(builder.offset(pointer, step, self.type))

        return read

    def _by_column(self, k: Value) -> Callable[[int, int], Value]:
        builder, row_stride = self.builder, self.row_stride or 0
        pointers: dict[int, Value] = {}

        def read(i: int, u: int) -> Value:
            if u not in pointers:
                column = self.access.a(builder, builder.add(k, builder.i64(u)))
                place = builder.mul(self.m, builder.i64(row_stride))
                pointers[u] = builder.offset(column, place, self.type)
            return self._load(builder.offset(pointers[u], i * row_stride, self.type))

        return read

    def _load(self, pointer: Value) -> Value:
        x = self.builder.load(self.type, pointer)
        return x if self.form.a_packed else self.access.convert_a(self.builder, x)


class _ColumnReader:
    """Reads vectors of B for the columns of one tile."""

    def __init__(
        self, form: OuterForm, builder: Builder, access: Access, n: Value, columns: int
    ) -> None:
        self.form, self.builder, self.access, self.n = form, builder, access, n
        self.parts = list(vectors_of(columns, form.lanes))
        self.count = len(self.parts)
        product = form.product
        self.bases: dict[int, Value] = {}
        if product.b_depth_stride is not None:
            # One address a panel; columns beyond it lie elsewhere.
            for first, _ in self.parts:
                group = self._group(first)
                if group not in self.bases:
                    column = builder.add(n, builder.i64(group))
                    self.bases[group] = access.b(builder, column)

    def _group(self, first: int) -> int:
        panel = self.form.product.b_panel
        return 0 if panel is None else first - first % panel

    def at(self, k: Value) -> Callable[[int, int], Value]:
        """A function of (vector, step): the vector of B[k + step]."""
        builder, product = self.builder, self.form.product
        stride = product.b_depth_stride
        pointers: dict[tuple[int, int], Value] = {}
        if stride is not None:
            place = builder.mul(k, builder.i64(stride))
            for group, base in self.bases.items():
                pointers[group, 0] = builder.offset(base, place, product.b_type)

        def read(j: int, u: int) -> Value:
            first, lanes = self.parts[j]
            group = self._group(first)
            if stride is None and (group, u) not in pointers:
                row = self.access.b(builder, builder.add(k, builder.i64(u)))
                pointers[group, u] = builder.offset(row, self.n, product.b_type)
            origin = pointers[group, u if stride is None else 0]
            step = first - group + (0 if stride is None else u * stride)
            return self._load(builder.offset(origin, step, product.b_type), lanes)

        return read

    def _load(self, pointer: Value, lanes: int) -> Value:
        builder, product = self.builder, self.form.product
        type_ = vector(product.b_type, self.form.lanes)
        if lanes == self.form.lanes or product.b_panel is not None:
            x = builder.load(type_, pointer)
        else:
            mask = builder.first_lanes(lanes, self.form.lanes)
            x = builder.masked_load(type_, pointer, mask, builder.zero(type_))
        return self.access.convert_b(builder, x)
