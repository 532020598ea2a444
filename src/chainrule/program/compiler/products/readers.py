"""How tiles read their operands inside the loops over k.

A reader keeps *cursors*: values that the loop carries, moved forward by ``advanced``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import size_of, vector
from chainrule.program.compiler.products.product import (
    Access,
    Product,
    quotient,
    remainder,
)
from chainrule.program.compiler.products.tiling import frozen, vectors_of

Read = Callable[[int, int], Value]


def depth_place(
    builder: Builder, k: Value, stride: int, panel: int | None, panel_stride: int
) -> Value:
    """How far step k lies from step 0, in elements; k may lie in panels."""
    if panel is None:
        return builder.mul(k, builder.i64(stride))
    turned = builder.mul(quotient(builder, k, panel), builder.i64(panel_stride))
    return builder.add(turned, remainder(builder, k, panel))


CACHE_LINE = 64


class RowReader:
    """Reads single elements of A for the rows of one tile.

    Args:
        builder: The function being written.
        product: Where A lies.
        access: Its addresses.
        m: First row.
        height: Number of rows.
        packed: Address of the tile if it is packed, ``[depth][height]``.
    """

    def __init__(
        self,
        builder: Builder,
        product: Product,
        access: Access,
        m: Value,
        height: int,
        packed: Value | None = None,
    ) -> None:
        self.builder, self.product, self.access, self.m = builder, product, access, m
        self.type = product.a_type if packed is None else product.element
        self.row_stride = product.a_row_stride if packed is None else 1
        self.depth_stride = product.a_depth_stride if packed is None else height
        self.panel = product.a_depth_panel if packed is None else None
        self.convert = packed is None
        self.rows: list[Value] = []
        self.base: Value | None = None
        if packed is not None:
            self.base = packed
        elif self.row_stride is None:
            self.rows = [access.a(builder, builder.add(m, builder.i64(i))) for i in range(height)]
        elif self.depth_stride is not None:
            self.base = access.a(builder, m)

    @property
    def _strided(self) -> bool:
        return self.base is not None and self.panel is None

    def start(self, k: Value) -> list[Value]:
        """The cursors at step k."""
        if not self._strided:
            return [k]
        assert self.base is not None
        place = self.builder.mul(k, self.builder.i64(self.depth_stride or 0))
        return [self.builder.offset(self.base, place, self.type)]

    def advanced(self, cursors: Sequence[Value], steps: int) -> list[Value]:
        """The cursors some steps later."""
        (cursor,) = cursors
        if self._strided:
            moved = self.builder.offset(cursor, steps * (self.depth_stride or 0), self.type)
        else:
            moved = self.builder.add(cursor, self.builder.i64(steps))
        return [frozen(self.builder, moved)]

    def at(self, cursors: Sequence[Value]) -> Read:
        """A function of (row, step): A[m + row, k + step]."""
        builder, product = self.builder, self.product
        (cursor,) = cursors
        if self.depth_stride is None:
            return self._by_column(cursor)
        if self._strided:
            pointers = [cursor]
        else:
            stride, panel_stride = self.depth_stride, product.a_depth_panel_stride
            place = depth_place(builder, cursor, stride, self.panel, panel_stride)
            bases = self.rows or [self.base] if self.base else self.rows
            pointers = [builder.offset(base, place, self.type) for base in bases]

        def read(i: int, u: int) -> Value:
            pointer = pointers[i] if self.row_stride is None else pointers[0]
            step = u * (self.depth_stride or 0) + i * (self.row_stride or 0)
            return self._load(builder.offset(pointer, step, self.type))

        return read

    def _by_column(self, k: Value) -> Read:
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
        return self.access.convert_a(self.builder, x) if self.convert else x


class ColumnReader:
    """Reads vectors of B for the columns of one tile.

    Args:
        builder: The function being written.
        product: Where B lies; columns are contiguous.
        access: Its addresses.
        n: First column.
        columns: Number of columns.
        lanes: Elements of a vector.
    """

    def __init__(
        self,
        builder: Builder,
        product: Product,
        access: Access,
        n: Value,
        columns: int,
        lanes: int,
    ) -> None:
        self.builder, self.product, self.access, self.n = builder, product, access, n
        self.lanes = lanes
        self.parts = list(vectors_of(columns, lanes))
        # One address a panel: the next panel lies elsewhere.
        self.groups = sorted({self._group(first) for first, _ in self.parts})
        self.stride = product.b_depth_stride
        self.bases: list[Value] = []
        if self.stride is not None:
            self.bases = [access.b(builder, builder.add(n, builder.i64(g))) for g in self.groups]

    @property
    def count(self) -> int:
        """Number of vectors."""
        return len(self.parts)

    def _group(self, first: int) -> int:
        panel = self.product.b_panel
        return 0 if panel is None else first - first % panel

    def start(self, k: Value) -> list[Value]:
        """The cursors at step k."""
        if self.stride is None:
            return [k]
        place = self.builder.mul(k, self.builder.i64(self.stride))
        return [self.builder.offset(base, place, self.product.b_type) for base in self.bases]

    def advanced(self, cursors: Sequence[Value], steps: int) -> list[Value]:
        """The cursors some steps later."""
        builder, stride = self.builder, self.stride
        if stride is None:
            moved = [builder.add(cursors[0], builder.i64(steps))]
        else:
            moved = [builder.offset(x, steps * stride, self.product.b_type) for x in cursors]
        return [frozen(builder, x) for x in moved]

    def at(self, cursors: Sequence[Value]) -> Read:
        """A function of (vector, step): that vector of B[k + step]."""
        builder, type_ = self.builder, self.product.b_type
        rows: dict[int, Value] = {}

        def read(j: int, u: int) -> Value:
            first, lanes = self.parts[j]
            if self.stride is None:
                if u not in rows:
                    row = self.access.b(builder, builder.add(cursors[0], builder.i64(u)))
                    rows[u] = builder.offset(row, self.n, type_)
                    self._ask(builder.add(cursors[0], builder.i64(u)))
                return self._load(builder.offset(rows[u], first, type_), lanes)
            group = self._group(first)
            cursor = cursors[self.groups.index(group)]
            step = first - group + u * self.stride
            return self._load(builder.offset(cursor, step, type_), lanes)

        return read

    def _ask(self, k: Value) -> None:
        """Ask for the next batch's columns of row k, a cache line at a time."""
        if self.access.following is None:
            return
        builder, type_ = self.builder, self.product.b_type
        row = builder.offset(self.access.following(builder, k), self.n, type_)
        line = CACHE_LINE // size_of(type_)
        for first in range(0, self.parts[-1][0] + self.lanes, line):
            builder.prefetch(builder.offset(row, first, type_), locality=2)

    def _load(self, pointer: Value, lanes: int) -> Value:
        builder, product = self.builder, self.product
        type_ = vector(product.b_type, self.lanes)
        if lanes == self.lanes or product.b_panel is not None:
            x = builder.load(type_, pointer)
        else:
            mask = builder.first_lanes(lanes, self.lanes)
            x = builder.masked_load(type_, pointer, mask, builder.zero(type_))
        return self.access.convert_b(builder, x)


class LineReader:
    """Reads vectors along k of a few rows of A or columns of B.

    Args:
        builder: The function being written.
        product: Where the operand lies; k is contiguous, perhaps in panels.
        access: Its addresses.
        start: First row or column.
        count: Number of rows or columns.
        lanes: Elements of a vector.
        of_a: Rows of A; else columns of B.
    """

    def __init__(
        self,
        builder: Builder,
        product: Product,
        access: Access,
        start: Value,
        count: int,
        lanes: int,
        *,
        of_a: bool,
    ) -> None:
        self.builder, self.lanes = builder, lanes
        if of_a:
            address, self.stride, self.type = access.a, product.a_row_stride, product.a_type
            self.panel, self.panel_stride = product.a_depth_panel, product.a_depth_panel_stride
            self.convert = access.convert_a
        else:
            address, self.type = access.b, product.b_type
            self.stride = product.b_column_stride
            self.panel, self.panel_stride = product.b_depth_panel, product.b_depth_panel_stride
            self.convert = access.convert_b
        several = count if self.stride is None else 1
        self.bases = [address(builder, builder.add(start, builder.i64(i))) for i in range(several)]

    def start(self, k: Value) -> list[Value]:
        """The cursors at step k, a multiple of the panel if there is one."""
        if self.stride is None:
            return [k]
        place = depth_place(self.builder, k, 1, self.panel, self.panel_stride)
        return [self.builder.offset(self.bases[0], place, self.type)]

    def advanced(self, cursors: Sequence[Value], steps: int) -> list[Value]:
        """The cursors after so many steps: a panel's, if k lies in panels."""
        builder, (cursor,) = self.builder, cursors
        if self.stride is None:
            return [frozen(builder, builder.add(cursor, builder.i64(steps)))]
        moved = steps if self.panel is None else steps // self.panel * self.panel_stride
        return [frozen(builder, builder.offset(cursor, moved, self.type))]

    def read(self, cursors: Sequence[Value], i: int, step: int, lanes: int) -> Value:
        """The vector of row or column ``i`` at ``step`` steps from the cursors."""
        builder = self.builder
        if self.stride is None:
            pointer = builder.offset(self.bases[i], cursors[0], self.type)
        else:
            pointer = builder.offset(cursors[0], i * self.stride, self.type)
        pointer = builder.offset(pointer, step, self.type)
        whole = vector(self.type, self.lanes)
        if lanes == self.lanes:
            return self.convert(builder, builder.load(whole, pointer))
        mask = builder.first_lanes(lanes, self.lanes)
        return self.convert(builder, builder.masked_load(whole, pointer, mask, builder.zero(whole)))
