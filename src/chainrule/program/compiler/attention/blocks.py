"""What both passes of attention do with blocks: find rows, copy, transpose, multiply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chainrule.program.compiler.attention.geometry import Geometry
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.expressions import Constant, Load
from chainrule.program.compiler.indices import Axis, axis_index, integer
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.products.outer import OuterForm, emit_outer
from chainrule.program.compiler.products.packing import transpose
from chainrule.program.compiler.products.product import Access, Product, minimum
from chainrule.program.compiler.products.tiling import frozen
from chainrule.program.compiler.reading import Reader


@dataclass(frozen=True)
class Rows:
    """Rows of features in memory.

    Args:
        load: Where an element lies.
        axes: Counters of batch, head, place and feature in it.
    """

    load: Load
    axes: tuple[Axis, ...]

    def strides(self, memory: Memory) -> tuple[list[int], int] | None:
        """Strides of batch, head and place, and the constant; None if rows are not contiguous."""
        place = memory.offset(self.load.tensor, self.load.indices)
        if any(atom not in self.axes for atom in place.terms):
            return None
        # an axis of one element serves all of them
        steps = [place.terms.get(x, 0) if x.extent > 1 else 0 for x in self.axes]
        if len(steps) == 4 and steps[3] != 1:
            return None
        return steps[:3], place.constant

    def first(self, b: Builder, memory: Memory, batch: Value, head: Value, element: str) -> Value:
        """Address of place 0 of a head."""
        found = self.strides(memory)
        assert found is not None
        (of_batch, of_head, _), constant = found
        step = b.add(b.mul(batch, b.i64(of_batch)), b.mul(head, b.i64(of_head)))
        return b.offset(memory.pointers(self.load.tensor), b.add(step, b.i64(constant)), element)

    def stride(self, memory: Memory) -> int:
        """Elements from one place to the next."""
        found = self.strides(memory)
        assert found is not None
        return found[0][2]


def rows_of(x: Tensor, is_leaf: Callable[[Tensor], bool]) -> Rows | None:
    """The rows of an operand (batch, heads, places[, features]); None if they are computed."""
    axes = tuple(Axis(n) for n in x.shape)
    found = Reader(is_leaf)(x, tuple(axis_index(axis) for axis in axes))
    return Rows(found, axes) if isinstance(found, Load) and found.guard is None else None


def result_rows(x: Tensor) -> Rows:
    """The rows of a result (batch, places, heads, features)."""
    axes = tuple(Axis(n) for n in x.shape)
    load = Load(x, tuple(axis_index(axis) for axis in axes))
    return Rows(load, (axes[0], axes[2], axes[1], axes[3]))


def operand_rows(x: Instruction, is_leaf: Callable[[Tensor], bool]) -> list[Rows]:
    """The rows of all operands that have rows, which must lie in memory."""
    found = [rows_of(operand, is_leaf) for operand in x.operands if len(operand.shape) == 4]
    return [rows for rows in found if rows is not None]


def numbers_of(x: Tensor, is_leaf: Callable[[Tensor], bool]) -> list[Constant | Load]:
    """The elements of an operand of one or two numbers; none if they are computed."""
    places = [(integer(n),) for n in range(x.size)] if x.shape else [()]
    found = [Reader(is_leaf)(x, place) for place in places]
    ready = [y for y in found if isinstance(y, Constant) or (isinstance(y, Load) and not y.guard)]
    return ready if len(ready) == len(found) else []


def number(b: Builder, memory: Memory, x: Constant | Load, type_: str) -> Value:
    """The value of such an element."""
    if isinstance(x, Constant):
        return b.constant(type_, x.value)
    place = memory.offset(x.tensor, x.indices)
    return b.load(type_, b.offset(memory.pointers(x.tensor), place.constant, type_))


class Blocks:
    """Writes copies, transpositions and products of blocks on the stack.

    Args:
        b: The function.
        geometry: Sizes.
    """

    def __init__(self, b: Builder, geometry: Geometry) -> None:
        self.b = b
        self.geometry = geometry
        self.element = geometry.element
        self.lanes = geometry.lanes
        self.type = vector(geometry.element, geometry.lanes)

    def room(self, elements: int) -> Value:
        """Room on the stack."""
        return self.b.stack(self.element, elements)

    def at(self, base: Value, place: Value | int) -> Value:
        """The address of an element."""
        return self.b.offset(base, place, self.element)

    def fill(self, target: Value, elements: int, value: float = 0.0) -> None:
        """Put one number into all elements."""
        b = self.b
        what = b.constant(self.type, value)
        with b.loop(0, elements, self.lanes) as i:
            b.store(what, self.at(target, i.index))

    def copy(
        self,
        source: Value,
        stride: int,
        first: Value,
        rows: int,
        limit: int,
        width: int,
        target: Value,
    ) -> None:
        """Copy rows one behind the other; those from ``limit`` on are zeros.

        Args:
            source: Address of row 0.
            stride: Elements from row to row.
            first: First row.
            rows: Rows of the block.
            limit: Rows that there are.
            width: Elements of a row.
            target: Where to.
        """
        b = self.b

        def row(number: Value, zero: bool) -> None:
            to = self.at(target, b.mul(number, b.i64(width)))
            place = b.mul(b.add(first, number), b.i64(stride))
            come = source if zero else self.at(source, place)
            for i in range(0, width, self.lanes):
                x = b.zero(self.type) if zero else b.load(self.type, self.at(come, i))
                b.store(x, self.at(to, i))

        there = b.i64(rows)
        if limit % rows:
            there = minimum(b, b.sub(b.i64(limit), first), rows)
        with b.loop(b.i64(0), there) as i:
            row(i.index, False)
        if limit % rows:
            with b.loop(there, b.i64(rows)) as i:
                row(i.index, True)

    def transpose(self, source: Value, rows: int, width: int, target: Value, pitch: int) -> None:
        """Turn a block of ``rows`` rows, one behind the other, into ``width`` rows ``pitch``
        apart."""
        b, lanes = self.b, self.lanes
        with b.loop(0, rows, lanes) as i, b.loop(0, width, lanes) as j:
            come = self.at(source, b.add(b.mul(i.index, b.i64(width)), j.index))
            block = [b.load(self.type, self.at(come, n * width)) for n in range(lanes)]
            to = self.at(target, b.add(b.mul(j.index, b.i64(pitch)), i.index))
            for n, x in enumerate(transpose(b, block)):
                b.store(x, self.at(to, n * pitch))

    def multiply(
        self,
        sizes: tuple[int, int, int],
        left: tuple[Value, int, int],
        right: tuple[Value, int],
        write: Callable[[Value, Value, Value], None],
        tiles: tuple[Value, Value] | None = None,
    ) -> None:
        """A product of two blocks in the cache.

        Args:
            sizes: Rows, columns and depth.
            left: Address, strides of rows and of the depth.
            right: Address, stride of the depth; columns are contiguous.
            write: Called with row, column and a vector of sums.
            tiles: First tile of rows to do and the one after the last, where not all are wanted;
                then there is one of columns.
        """
        b, g = self.b, self.geometry
        rows, columns, depth = sizes
        product = Product(rows, columns, depth, self.element, left[1], left[2], right[1], 1)
        unroll = 4 if depth % 4 == 0 else 2
        whole = -(-depth // unroll) * unroll
        form = OuterForm(product, self.lanes, g.tile_rows, g.tile_vectors, unroll, whole, 1, 1)
        if tiles is None:
            form = OuterForm(
                product,
                self.lanes,
                g.tile_rows,
                g.tile_vectors,
                unroll,
                whole,
                form.rows.count,
                1,
            )
        access = Access(
            lambda i, m: i.offset(left[0], i.mul(m, i.i64(left[1])), self.element),
            lambda i, n: i.offset(right[0], n, self.element),
        )
        begin, end = (b.i64(0), b.i64(form.tasks)) if tiles is None else tiles

        def epilogue(_: Builder, m: Value, n: Value, x: Value, lanes: int) -> None:
            write(m, n, x)

        emit_outer(form, b, begin, frozen(b, end), access, epilogue, True)

    def into(
        self, target: Value, pitch: int, *, add: bool
    ) -> Callable[[Value, Value, Value], None]:
        """What stores sums into a matrix, or adds them to it."""
        b = self.b

        def write(m: Value, n: Value, x: Value) -> None:
            place = self.at(target, b.add(b.mul(m, b.i64(pitch)), n))
            b.store(b.add(b.load(self.type, place), x) if add else x, place)

        return write
