"""Operands copied into the order in which the tiles read them: panels of B, tiles of A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of, vector
from chainrule.program.compiler.products.product import (
    Access,
    Product,
    minimum,
    remainder,
)
from chainrule.program.compiler.products.readers import depth_place
from chainrule.program.compiler.products.tiling import Tiling, block_ranges, counting, vectors_of

STEPS = 8  # of k at a time: what they write of a tile fills cache lines
TASK_ELEMENTS = 16384  # packed by a task: about three microseconds


def pack_panels(matrix: np.ndarray[Any, Any], panel: int) -> np.ndarray[Any, Any]:
    """A (K, N) matrix as panels ``[ceil(N / panel), K, panel]``, the last filled up with zeros."""
    depth, columns = matrix.shape
    count = -(-columns // panel)
    wide = np.zeros((depth, count * panel), matrix.dtype)
    wide[:, :columns] = matrix
    return np.ascontiguousarray(wide.reshape(depth, count, panel).transpose(1, 0, 2))


def unpack_panels(panels: np.ndarray[Any, Any], columns: int) -> np.ndarray[Any, Any]:
    """The (K, columns) matrix that ``pack_panels`` made panels of."""
    count, depth, panel = panels.shape
    wide = panels.transpose(1, 0, 2).reshape(depth, count * panel)
    return np.ascontiguousarray(wide[:, :columns])


@dataclass(frozen=True)
class PackColumns:
    """B into panels ``[ceil(columns / panel)][depth][panel]``; one task a few panels.

    Args:
        product: Where B lies.
        lanes: Elements of a vector.
        panel: Columns of a panel, a multiple of the lanes.
        task_panels: Panels of a task.
        offset: Bytes of scratch memory before the panels.
    """

    product: Product
    lanes: int
    panel: int
    task_panels: int
    offset: int

    @property
    def count(self) -> int:
        """Number of panels."""
        return -(-self.product.columns // self.panel)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return -(-self.count // self.task_panels)

    @property
    def elements(self) -> int:
        """Elements of the packed operand."""
        return self.count * self.panel * self.product.depth

    def emit(self, builder: Builder, begin: Value, end: Value, access: Access) -> None:
        """Write tasks begin to end."""
        if not self.elements:
            return
        assert access.scratch is not None
        base = builder.offset(access.scratch, self.offset, "i8")
        with counting(builder, begin, end) as task:
            first, last = block_ranges(builder, task.index, self.task_panels, self.count)
            full, rest = divmod(self.product.columns, self.panel)
            with counting(builder, first, minimum(builder, last, full)) as panel:
                n = builder.mul(panel.index, builder.i64(self.panel))
                self._panel(builder, access, base, n, self.panel)
            if rest:
                with builder.when(builder.compare("sgt", last, builder.i64(full))):
                    self._panel(builder, access, base, builder.i64(full * self.panel), rest)

    def _panel(self, builder: Builder, access: Access, base: Value, n: Value, columns: int) -> None:
        product = self.product
        place = builder.mul(n, builder.i64(product.depth))
        target = builder.offset(base, place, product.element)
        if product.b_column_stride == 1:
            self._copy(builder, access, target, n, columns)
        else:
            self._transpose(builder, access, target, n, columns)

    def _copy(
        self, builder: Builder, access: Access, target: Value, n: Value, columns: int
    ) -> None:
        product, lanes = self.product, self.lanes
        stride, type_ = product.b_depth_stride, vector(product.b_type, lanes)
        zero = builder.zero(vector(product.element, lanes))
        column = None if stride is None else access.b(builder, n)
        with builder.loop(0, product.depth) as k:
            if column is None:
                source = builder.offset(access.b(builder, k.index), n, product.b_type)
            else:
                step = builder.mul(k.index, builder.i64(stride or 0))
                source = builder.offset(column, step, product.b_type)
            row = builder.offset(
                target, builder.mul(k.index, builder.i64(self.panel)), product.element
            )
            for first in range(0, self.panel, lanes):
                used = min(lanes, columns - first)
                x = zero
                if used > 0:
                    pointer = builder.offset(source, first, product.b_type)
                    x = access.convert_b(builder, _load(builder, type_, pointer, used))
                builder.store(x, builder.offset(row, first, product.element))

    def _transpose(
        self, builder: Builder, access: Access, target: Value, n: Value, columns: int
    ) -> None:
        """Columns of B lie along k: square blocks are turned in registers."""
        product, lanes = self.product, self.lanes
        if product.b_depth_stride != 1:
            self._gather(builder, access, target, n, columns)
            return
        type_ = vector(product.b_type, lanes)
        source = access.b(builder, n)

        def block(k: Value, used: int) -> None:
            place = depth_place(builder, k, 1, product.b_depth_panel, product.b_depth_panel_stride)
            for first in range(0, self.panel, lanes):
                turned = []
                for column in range(first, first + lanes):
                    if column >= columns:
                        turned.append(builder.zero(vector(product.element, lanes)))
                        continue
                    pointer = builder.offset(
                        source, column * product.b_column_stride, product.b_type
                    )
                    pointer = builder.offset(pointer, place, product.b_type)
                    x = _load(builder, type_, pointer, used)
                    turned.append(access.convert_b(builder, x))
                turned = transpose(builder, turned)
                row = builder.offset(
                    target, builder.mul(k, builder.i64(self.panel)), product.element
                )
                for step in range(used):
                    slot = builder.offset(row, step * self.panel + first, product.element)
                    builder.store(turned[step], slot)

        whole = product.depth - product.depth % lanes
        with builder.loop(0, whole, lanes) as k:
            block(k.index, lanes)
        if product.depth % lanes:
            block(builder.i64(whole), product.depth % lanes)

    def _gather(
        self, builder: Builder, access: Access, target: Value, n: Value, columns: int
    ) -> None:
        """Neither columns nor k are contiguous: element by element."""
        product = self.product
        with builder.loop(0, product.depth) as k:
            source = builder.offset(
                access.b(builder, n),
                builder.mul(k.index, builder.i64(product.b_depth_stride or 0)),
                product.b_type,
            )
            row = builder.offset(
                target, builder.mul(k.index, builder.i64(self.panel)), product.element
            )
            for column in range(self.panel):
                x = builder.constant(product.element, 0)
                if column < columns:
                    step = column * product.b_column_stride
                    place = builder.offset(source, step, product.b_type)
                    x = access.convert_b(builder, builder.load(product.b_type, place))
                builder.store(x, builder.offset(row, column, product.element))


@dataclass(frozen=True)
class PackRows:
    """A into the tiles of a product, ``[depth][tile's rows]`` one after another.

    Where rows lie side by side a task is some steps of k, else some tiles.

    Args:
        product: Where A lies.
        lanes: Elements of a vector.
        rows: The tiles.
        task_tiles: Tiles of a task; not used where rows lie side by side.
        offset: Bytes of scratch memory before the tiles.
    """

    product: Product
    lanes: int
    rows: Tiling
    task_tiles: int
    offset: int

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        if self.product.a_row_stride == 1:
            return -(-self.product.depth // self.task_steps)
        return -(-self.rows.count // self.task_tiles)

    @property
    def task_steps(self) -> int:
        """Steps of k of a task, where rows lie side by side."""
        wanted = max(4 * self.lanes, TASK_ELEMENTS // max(1, self.product.rows))
        return -(-wanted // STEPS) * STEPS

    @property
    def elements(self) -> int:
        """Elements of the packed operand."""
        return self.product.rows * self.product.depth

    def emit(self, builder: Builder, begin: Value, end: Value, access: Access) -> None:
        """Write tasks begin to end."""
        if not self.elements:
            return
        assert access.scratch is not None
        base = builder.offset(access.scratch, self.offset, "i8")
        product = self.product

        def tile(m: Value, height: int) -> None:
            place = builder.mul(m, builder.i64(product.depth))
            target = builder.offset(base, place, product.element)
            self._transpose(builder, access, target, m, height)

        with counting(builder, begin, end) as task:
            if product.a_row_stride == 1:
                steps = block_ranges(builder, task.index, self.task_steps, product.depth)
                self._copy(builder, access, base, *steps)
            else:
                tiles = block_ranges(builder, task.index, self.task_tiles, self.rows.count)
                self.rows.loop(builder, *tiles, tile)

    def _copy(
        self, builder: Builder, access: Access, base: Value, first: Value, last: Value
    ) -> None:
        """A few steps of k after the other, the rows of all tiles: they are read as they lie.

        Whole vectors are stored where the following steps overwrite what is too much of them: not
        at the end of a task, behind which lies another's.
        """
        product = self.product
        stride, type_ = product.a_depth_stride, vector(product.a_type, self.lanes)
        start = None if stride is None else access.a(builder, builder.i64(0))

        def source(k: Value) -> Value:
            if start is None or stride is None:
                return access.a(builder, k)
            return builder.offset(start, builder.mul(k, builder.i64(stride)), product.a_type)

        def steps(first_step: Value, count: int, *, masked: bool) -> None:
            counts = [builder.add(first_step, builder.i64(u)) for u in range(count)]
            sources = [source(k) for k in counts]

            def tile(m: Value, height: int) -> None:
                place = builder.mul(m, builder.i64(product.depth))
                place = builder.add(place, builder.mul(first_step, builder.i64(height)))
                target = builder.offset(base, place, product.element)
                for u, line in enumerate(sources):
                    begin = builder.offset(line, m, product.a_type)
                    for column, used in vectors_of(height, self.lanes):
                        pointer = builder.offset(begin, column, product.a_type)
                        x = access.convert_a(builder, _load(builder, type_, pointer, used))
                        pointer = builder.offset(target, u * height + column, product.element)
                        _store(builder, x, pointer, used if masked else self.lanes)

            self.rows.loop(builder, builder.i64(0), builder.i64(self.rows.count), tile)

        reach = -(-self.lanes // STEPS) * STEPS
        rest = remainder(builder, builder.sub(last, first), STEPS)
        whole = builder.sub(builder.sub(last, rest), builder.i64(reach))
        with builder.loop(first, whole, STEPS) as k:
            steps(k.index, STEPS, masked=False)
        with builder.loop(
            builder.select(builder.compare("slt", first, whole), whole, first), last
        ) as k:
            steps(k.index, 1, masked=True)

    def _transpose(
        self, builder: Builder, access: Access, target: Value, m: Value, height: int
    ) -> None:
        product, lanes = self.product, self.lanes
        rows = []
        for i in range(height):
            if product.a_row_stride is None:
                rows.append(access.a(builder, builder.add(m, builder.i64(i))))
            else:
                first_row = rows[0] if rows else access.a(builder, m)
                rows.append(builder.offset(first_row, i * product.a_row_stride, product.a_type))

        def block(k: Value, used: int) -> None:
            for first, live in vectors_of(height, lanes):
                turned = []
                for i in range(first, first + live):
                    step = depth_place(
                        builder,
                        k,
                        product.a_depth_stride or 0,
                        product.a_depth_panel,
                        product.a_depth_panel_stride,
                    )
                    pointer = builder.offset(rows[i], step, product.a_type)
                    type_ = vector(product.a_type, lanes)
                    turned.append(access.convert_a(builder, _load(builder, type_, pointer, used)))
                unused = builder.poison(vector(product.element, lanes))
                turned = transpose(builder, turned + [unused] * (lanes - live))
                row = builder.offset(target, builder.mul(k, builder.i64(height)), product.element)
                for step_ in range(used):
                    place = builder.offset(row, step_ * height + first, product.element)
                    _store(builder, turned[step_], place, live)

        whole = product.depth - product.depth % lanes
        with builder.loop(0, whole, lanes) as k:
            block(k.index, lanes)
        if product.depth % lanes:
            block(builder.i64(whole), product.depth % lanes)


def transpose(builder: Builder, rows: Sequence[Value]) -> list[Value]:
    """Square block of as many vectors as each has lanes, turned: lane i of row j to lane j of i."""
    lanes = lanes_of(rows[0].type)
    current = list(rows)
    distance = 1
    while distance < lanes:
        low = [i if not i & distance else i - distance + lanes for i in range(lanes)]
        high = [i + distance if not i & distance else i + lanes for i in range(lanes)]
        turned = list(current)
        for i in range(lanes):
            if not i & distance:
                x, y = current[i], current[i | distance]
                turned[i] = builder.shuffle(x, y, low)
                turned[i | distance] = builder.shuffle(x, y, high)
        current = turned
        distance *= 2
    return current


def _load(builder: Builder, type_: str, pointer: Value, used: int) -> Value:
    lanes = lanes_of(type_)
    if used == lanes:
        return builder.load(type_, pointer)
    mask = builder.first_lanes(used, lanes)
    return builder.masked_load(type_, pointer, mask, builder.zero(type_))


def _store(builder: Builder, x: Value, pointer: Value, used: int) -> None:
    lanes = lanes_of(x.type)
    if used == lanes:
        builder.store(x, pointer)
    else:
        builder.masked_store(x, pointer, builder.first_lanes(used, lanes))
