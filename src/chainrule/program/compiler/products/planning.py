"""Chooses the form of a product, its tiles, blocks and packing, from its shape and the target."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import size_of
from chainrule.program.compiler.products.dot import DotForm, emit_dot
from chainrule.program.compiler.products.outer import COLUMN_PARTS, OuterForm, emit_outer
from chainrule.program.compiler.products.packing import PackColumns, PackRows
from chainrule.program.compiler.products.product import (
    Access,
    Epilogue,
    Product,
    panel_offset,
    unchanged,
)
from chainrule.program.compiler.target import Target

MOST_BUFFERED_ROWS = 96  # of a task in dot form whose sums wait on the stack
INLINE_DEPTH = 512  # from here on, leaving the registers costs nothing beside the sums
LONG_SUM = 512  # steps of k of which nothing stays in the first-level cache for the next tile
TASK_FLOPS = 30_000  # about a third of a microsecond: enough to share small products evenly
MOST_TASKS = 64


@dataclass(frozen=True)
class Stage:
    """A part of a product that must be finished, on all threads, before the next one begins.

    Args:
        name: ``pack_b``, ``pack_a`` or ``multiply``.
        tasks: Number of pieces that may run in any order, on any thread.
    """

    name: str
    tasks: int


@dataclass(frozen=True)
class Plan:
    """How a product is computed.

    Args:
        product: The product.
        target: The processor.
        form: The loops of the multiplication.
        pack_columns: How B is packed first, if it is.
        pack_rows: How A is packed first, if it is.
    """

    product: Product
    target: Target
    form: OuterForm | DotForm
    pack_columns: PackColumns | None = None
    pack_rows: PackRows | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; between two of them all threads must wait for each other."""
        packs = []
        if self.pack_columns is not None:
            packs.append(Stage("pack_b", self.pack_columns.tasks))
        if self.pack_rows is not None:
            packs.append(Stage("pack_a", self.pack_rows.tasks))
        return (*packs, Stage("multiply", self.form.tasks))

    @property
    def scratch_bytes(self) -> int:
        """Bytes of memory shared by all threads for packed operands; aligned to 64."""
        packs = [x for x in (self.pack_columns, self.pack_rows) if x is not None]
        size = size_of(self.product.element)
        # Vectors at the end of the last tile are read whole.
        return max((p.offset + _rounded(p.elements * size) for p in packs), default=0)

    def emit(
        self,
        builder: Builder,
        stage: Stage,
        begin: Value,
        end: Value,
        access: Access,
        epilogue: Epilogue | None = None,
        *,
        inline: bool | None = None,
        together: bool = False,
    ) -> None:
        """Write tasks ``begin`` to ``end`` of a stage into a function.

        Args:
            builder: The function.
            stage: One of ``stages``.
            begin: First task.
            end: Task after the last.
            access: Where the operands are; the whole product's in every stage.
            epilogue: What to do with the sums; for the last stage only, and needed there.
            inline: Write the epilogue once for every vector of a tile, with the sums in registers
                (right for a short one); or once for a row of vectors, in a loop (right for a long
                one). None: by the depth.
            together: The epilogue takes vectors of twice the lanes too: where one number is made of
                another again and again, two such chains side by side take little longer than one.
        """
        if stage.name == "pack_b" and self.pack_columns is not None:
            self.pack_columns.emit(builder, begin, end, access)
        elif stage.name == "pack_a" and self.pack_rows is not None:
            self.pack_rows.emit(builder, begin, end, access)
        elif epilogue is None:
            raise ValueError("the multiplication needs an epilogue")
        elif isinstance(self.form, DotForm):
            emit_dot(self.form, builder, begin, end, access, epilogue)
        else:
            short = self.product.depth <= INLINE_DEPTH if inline is None else inline
            packed = self._packed_access(builder, access)
            emit_outer(self.form, builder, begin, end, packed, epilogue, short, together)

    def _packed_access(self, builder: Builder, access: Access) -> Access:
        scratch, pack = access.scratch, self.pack_columns
        if scratch is None or (pack is None and self.pack_rows is None):
            return access
        packed = dataclasses.replace(access)
        if self.pack_rows is not None:
            packed.scratch = builder.offset(scratch, self.pack_rows.offset, "i8")
        if pack is not None:
            base = builder.offset(scratch, pack.offset, "i8")

            def address(inner: Builder, n: Value) -> Value:
                place = panel_offset(inner, n, pack.panel, pack.product.depth)
                return inner.offset(base, place, pack.product.element)

            packed.b = address
            packed.convert_b = unchanged
        return packed


def preferred_panel(target: Target, element: str = "float") -> int:
    """Columns of a panel of a resident weight: those of the target's register tile."""
    return target.lanes(size_of(element)) * target.matmul_vectors


def plan(product: Product, target: Target, *, reused: bool = False) -> Plan:
    """Choose how to compute a product; by shape and target only, so that its bits are fixed.

    Args:
        product: The product.
        target: The processor.
        reused: B stays the same over many products: packing it costs next to nothing.
    """
    packs = reused and _gains_from_panels(product, target)
    if not packs and _wants_dot(product, target):
        return Plan(product, target, _dot_form(product, target))
    return _outer_plan(product, target, packs)


def _gains_from_panels(product: Product, target: Target) -> bool:
    """True if a B that is packed once serves best in panels: for more than a few rows."""
    wide = product.columns >= preferred_panel(target, product.element)
    return wide and product.b_panel is None and product.rows >= 4 and product.depth >= 8


def _wants_dot(product: Product, target: Target) -> bool:
    """True if vectors along k serve best: B has no contiguous columns, and few of them or few rows.

    With many of both, turning B into panels costs less than adding up the lanes of every sum.
    """
    along_a = product.a_depth_stride == 1
    along_b = product.b_depth_stride == 1 and product.b_panel is None
    if not (along_a and along_b):
        return False
    if product.columns == 1:
        return True
    if product.b_column_stride == 1 and product.b_depth_panel is None:
        return False
    lanes = target.lanes(size_of(product.element))
    # Panels of k put a column's lines a page apart each: nothing prefetches them.
    most = 12 if product.b_depth_panel is not None else 32
    few = product.columns <= 2 * lanes or product.rows <= most
    return few and product.depth >= 2 * lanes


def _dot_form(product: Product, target: Target) -> DotForm:
    lanes = target.lanes(size_of(product.element))
    rows, columns = _dot_tile(product, target, lanes)
    block = product.columns if product.columns <= 2 * lanes else lanes
    unroll = 1
    panels = [x for x in (product.a_depth_panel, product.b_depth_panel) if x is not None]
    if panels:
        unroll = max(1, max(panels) // lanes)
    depth_block = _dot_depth_block(product, target, block, unroll * lanes)
    form = DotForm(product, lanes, rows, columns, unroll, max(1, block), 1, 1, depth_block)
    task_tiles, task_columns = _task_size(product, form.rows.count, form.column_count)
    if form.depth_blocks > 1:
        task_tiles = _even(form.rows.count, min(task_tiles, MOST_BUFFERED_ROWS // rows))
    return dataclasses.replace(form, task_tiles=task_tiles, task_columns=task_columns)


def _dot_depth_block(product: Product, target: Target, columns: int, step: int) -> int:
    """Steps of k whose block of columns stays in the first-level cache, if rows reuse it."""
    size = columns * size_of(product.element)
    rows_apart = product.b_column_stride * size_of(product.element)
    collide = product.b_depth_panel is None and rows_apart % 4096 == 0
    if product.rows <= 12 or collide or product.depth * size <= target.level1:
        return max(1, -(-product.depth // step) * step)
    blocks = -(-product.depth * size // (target.level1 * 2 // 3))
    return -(-product.depth // (blocks * step)) * step


def _dot_tile(product: Product, target: Target, lanes: int) -> tuple[int, int]:
    """The tile that takes the least time by count of multiply-adds, loads and sums."""
    best, least = (1, 1), float("inf")
    turns = -(-product.depth // lanes)
    wide = max(1, min(product.columns, 2 * lanes if product.columns <= 2 * lanes else lanes))
    for rows in range(1, min(6, max(1, product.rows)) + 1):
        for columns in range(1, min(wide, 12) + 1):
            if rows * columns + min(rows, columns) + 1 > target.registers:
                continue
            row_tiles = -(-product.rows // rows)
            column_tiles = -(-product.columns // wide) * -(-wide // columns)
            # Two multiply-adds and two loads a cycle; four cycles until a sum can be added to.
            step = max(rows * columns, 1.2 * (rows + columns), 9) / 2
            sums = 3 * columns * rows / 2 + 12
            time = row_tiles * column_tiles * (turns * step + sums)
            if time < least:
                best, least = (rows, columns), time
    return best


def _outer_plan(product: Product, target: Target, packs: bool = False) -> Plan:
    size = size_of(product.element)
    lanes = target.lanes(size)
    rows, vectors = _outer_tile(product, target, lanes)
    pack_b = packs or _packs_columns(product, target)
    after = product
    pack_columns = None
    offset = 0
    if pack_b:
        panel = vectors * lanes
        pack_columns = PackColumns(product, lanes, panel, 1, 0)
        per_task = max(1, pack_columns.count // MOST_TASKS, 16384 // max(1, panel * product.depth))
        pack_columns = dataclasses.replace(pack_columns, task_panels=per_task)
        offset = _rounded(pack_columns.elements * size)
        after = dataclasses.replace(
            product,
            b_depth_stride=panel,
            b_column_stride=1,
            b_panel=panel,
            b_depth_panel=None,
            b_depth_panel_stride=0,
            b_storage="",
        )
    # Wide registers leave few steps for a cycle's worth of loop control.
    unroll = 4 if target.vector_bytes > 32 else 2
    depth_block = _depth_block(product, target, vectors * lanes * size, unroll)
    form = OuterForm(after, lanes, rows, vectors, unroll, depth_block, 1, 1)
    pack_rows = None
    if _packs_rows(product, target, rows):
        per_task = max(1, form.rows.count // MOST_TASKS, 16384 // max(1, rows * product.depth))
        pack_rows = PackRows(product, lanes, form.rows, per_task, offset)
        form = dataclasses.replace(form, a_packed=True)
    task_tiles, task_columns = _task_size(product, form.rows.count, form.column_tiles)
    rows_in_cache = max(4 * rows, target.level2 // 2 // max(1, product.depth * size))
    task_tiles = _even(form.rows.count, min(task_tiles, rows_in_cache // rows))
    form = dataclasses.replace(form, task_tiles=task_tiles, task_columns=task_columns)
    return Plan(product, target, form, pack_columns, pack_rows)


def _outer_tile(product: Product, target: Target, lanes: int) -> tuple[int, int]:
    """Rows and vectors of a tile; few rows or columns make it wider or taller."""
    rows, vectors = target.matmul_rows, target.matmul_vectors
    sums = rows * vectors
    if product.columns <= lanes:
        return sums, 1
    if product.rows <= 1:
        return 1, max(vectors, min(8, sums) // vectors * vectors)
    if product.rows * 2 * vectors <= sums:
        return product.rows, 2 * vectors
    # Tiles of one height are compiled in half the time.
    for height in range(rows, (4 * rows + 4) // 5 - 1, -1):
        if product.rows % height == 0:
            return height, vectors
    return rows, vectors


def _packs_columns(product: Product, target: Target) -> bool:
    """True if B is to be packed: it cannot be read in vectors, or its rows collide in the cache."""
    if product.b_panel is not None:
        return False
    if product.b_column_stride != 1 or product.b_depth_panel is not None:
        return True
    if product.columns <= preferred_panel(target, product.element):
        return False
    # Rows a multiple of a page apart share one set of the cache; then packing pays early.
    stride = (product.b_depth_stride or 0) * size_of(product.b_type)
    if stride and stride % 4096 == 0:
        return product.rows >= 32 and product.depth >= 8
    return product.rows >= (96 if stride and stride % 1024 == 0 else 256)


def _packs_rows(product: Product, target: Target, rows: int) -> bool:
    """True if A is read so often that it should be converted first, or its rows collide."""
    columns = product.columns // preferred_panel(target, product.element)
    if product.a_type != product.element:
        return columns >= 4
    stride, size = product.a_row_stride or 0, size_of(product.element)
    if stride == 1 and product.depth >= LONG_SUM and columns >= 4:
        # every step of k lies elsewhere: of a long k, nothing stays in the cache for the next tile
        return True
    collides = stride * size % 4096 == 0 and stride > 0
    return collides and rows > 8 and columns >= 8 and product.rows > rows


def _depth_block(product: Product, target: Target, row_bytes: int, unroll: int) -> int:
    """Steps of k whose panel of B fills a quarter of the second level; blocks of equal length.

    Panels that are longer than the first-level cache cost nothing: the second level delivers a
    row of the panel in a third of the time that its multiply-adds take.
    """
    most = max(unroll, target.level2 // 4 // row_bytes)
    blocks = max(1, -(-product.depth // most))
    return max(unroll, -(-product.depth // (blocks * unroll)) * unroll)


def _task_size(product: Product, row_tiles: int, column_tiles: int) -> tuple[int, int]:
    """Tiles of rows and tiles of columns in a task."""
    wanted = max(1, min(MOST_TASKS, product.flops // TASK_FLOPS))
    if column_tiles >= min(wanted, 16):
        if column_tiles < MOST_TASKS and row_tiles > 3:
            # Parts of a column, one after the other: the threads are done at nearly the same time.
            return -(-row_tiles // COLUMN_PARTS), 1
        return max(1, row_tiles), _even(column_tiles, column_tiles // wanted)
    # Few columns: rows divide the work more evenly.
    if row_tiles < wanted:
        return 1, _even(column_tiles, column_tiles * row_tiles // wanted)
    return _even(row_tiles, row_tiles // wanted), max(1, column_tiles)


def _even(count: int, most: int) -> int:
    """The size of as few blocks of at most ``most`` as hold ``count``, nearly equal."""
    blocks = -(-count // max(1, most))
    return max(1, -(-count // max(1, blocks)))


def _rounded(size: int) -> int:
    return -(-size // 64) * 64
