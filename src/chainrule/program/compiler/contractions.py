"""``dot_general`` as matrix products: which instructions become one, and where operands lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.expressions import Expression, Load
from chainrule.program.compiler.indices import (
    Axis,
    Index,
    Lookup,
    Quotient,
    Remainder,
    axis_index,
    ravel,
    unravel,
)
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.elements import Indices
from chainrule.program.compiler.lowering.reductions import contraction_indices
from chainrule.program.compiler.products.product import Product
from chainrule.program.compiler.reading import Reader

Offset = Callable[[Tensor, Indices], Index]
MOST_READS = 64  # times that a looked-up row is read before copying it is the cheaper way
LEAST_FLOPS = 256  # below this a plain loop is as good
REDUCTIONS = ("sum", "prod", "max", "min")


@dataclass(frozen=True)
class Contraction:
    """A ``dot_general`` as a batch of matrix products.

    Args:
        instruction: The ``dot_general``.
        batch: Counts the products.
        row: Counts rows of the result.
        column: Counts columns of the result.
        depth: Counts what is summed over.
        a: Where the element of A lies: a load at ``batch``, ``row`` and ``depth``.
        b: Where the element of B lies: at ``batch``, ``depth`` and ``column``.
        swapped: Rows count the free axes of the second operand, columns those of the first.
    """

    instruction: Instruction
    batch: Axis
    row: Axis
    column: Axis
    depth: Axis
    a: Load
    b: Load
    swapped: bool = False

    def turned(self) -> Contraction:
        """The transposed product: Cᵀ = Bᵀ·Aᵀ."""
        return Contraction(
            self.instruction,
            self.batch,
            self.column,
            self.row,
            self.depth,
            self.b,
            self.a,
            not self.swapped,
        )

    def product(self, offset: Offset) -> Product | None:
        """The product with its strides; None if an operand is not laid out in strides."""
        # What looks like panels in the plain order is as wide as the tensor's axis happens to be,
        # which no register tile asks about: only layouts make panels.
        if any(is_split(flat_offset(x.tensor, x.indices)) for x in (self.a, self.b)):
            return None
        a = _strides(offset(self.a.tensor, self.a.indices), self.row, self.depth, self.batch)
        b = _strides(offset(self.b.tensor, self.b.indices), self.column, self.depth, self.batch)
        if a is None or b is None or a.panel is not None or b.stride is None:
            return None
        if b.depth_stride is None and b.stride != 1:
            return None
        if b.panel is not None and b.panel_stride != self.depth.extent * b.panel:
            return None
        element = "float" if self.instruction.result.dtype == np.float32 else "double"
        return Product(
            rows=self.row.extent,
            columns=self.column.extent,
            depth=self.depth.extent,
            element=element,
            a_row_stride=a.stride,
            a_depth_stride=a.depth_stride,
            b_depth_stride=b.depth_stride,
            b_column_stride=b.stride,
            b_panel=b.panel,
            a_depth_panel=a.depth_panel,
            a_depth_panel_stride=a.depth_panel_stride,
            b_depth_panel=b.depth_panel,
            b_depth_panel_stride=b.depth_panel_stride,
        )

    def result_indices(self) -> Indices:
        """Indices of the result at ``batch``, ``row`` and ``column``."""
        first, second = (self.column, self.row) if self.swapped else (self.row, self.column)
        parts = [
            unravel(axis_index(axis), shape)
            for axis, shape in zip(
                (self.batch, first, second), _sizes(self.instruction), strict=True
            )
        ]
        return parts[0] + parts[1] + parts[2]


def is_split(place: Index) -> bool:
    """True if an axis of a product stands for several of the tensor, and not for one stride."""
    return any(isinstance(atom, Quotient | Remainder) for atom in place.terms)


class _Strides:
    """Strides of an operand along its free axis and along the depth, in panels or not."""

    def __init__(self) -> None:
        self.stride: int | None = 0
        self.panel: int | None = None
        self.panel_stride = 0
        self.depth_stride: int | None = 0
        self.depth_panel: int | None = None
        self.depth_panel_stride = 0


def _strides(place: Index, free: Axis, depth: Axis, batch: Axis) -> _Strides | None:
    found = _Strides()
    for atom, coefficient in place.terms.items():
        if atom is free:
            found.stride = coefficient
        elif atom is depth:
            found.depth_stride = coefficient
        elif isinstance(atom, Lookup) and atom.axes == {free} and found.stride == 0:
            found.stride = None
        elif isinstance(atom, Lookup) and atom.axes == {depth} and found.depth_stride == 0:
            found.depth_stride = None
        elif isinstance(atom, Quotient | Remainder):
            axis = atom.index.as_axis()
            if axis not in (free, depth):
                return None
            if isinstance(atom, Quotient) and axis is free:
                found.panel, found.panel_stride = atom.divisor, coefficient
            elif isinstance(atom, Quotient):
                found.depth_panel, found.depth_panel_stride = atom.divisor, coefficient
            elif axis is free:
                found.stride = coefficient
            else:
                found.depth_stride = coefficient
        elif atom is not batch:
            return None
    if found.stride is None and found.depth_stride is None:
        return None
    return found if found.stride == 1 or found.panel is None else None


def _sizes(x: Instruction) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Shapes of the batch, of the rows and of the columns."""
    n_batch = len(x.attributes["batch"][0])
    taken = n_batch + len(x.attributes["contract"][0])
    n_rows = len(x.operands[0].shape) - taken
    shape = x.result.shape
    return shape[:n_batch], shape[n_batch : n_batch + n_rows], shape[n_batch + n_rows :]


def describe(x: Instruction, is_leaf: Callable[[Tensor], bool]) -> Contraction | None:
    """The instruction as matrix products; None if an operand is computed while it is read."""
    batch, rows, columns = (math.prod(s) for s in _sizes(x))
    depths = tuple(x.operands[0].shape[a] for a in x.attributes["contract"][0])
    axes = [
        Axis(batch, "batch"),
        Axis(rows, "m"),
        Axis(columns, "n"),
        Axis(math.prod(depths), "k"),
    ]
    sizes = _sizes(x)
    indices: Indices = ()
    for axis, shape in zip(axes[:3], sizes, strict=True):
        indices += unravel(axis_index(axis), shape)
    over = unravel(axis_index(axes[3]), depths)
    left, right = contraction_indices(x, indices, over)
    reader = Reader(is_leaf)
    a, b = reader(x.operands[0], left), reader(x.operands[1], right)
    if not (_is_plain(a) and _is_plain(b)):
        return None
    assert isinstance(a, Load)
    assert isinstance(b, Load)
    return Contraction(x, axes[0], axes[1], axes[2], axes[3], a, b)


def _is_plain(expression: Expression) -> bool:
    return isinstance(expression, Load) and expression.guard is None


def is_candidate(x: Instruction) -> bool:
    """True for products of float32 or float64 that are worth a kernel of their own."""
    if x.op.name != "dot_general" or x.result.dtype not in (np.float32, np.float64):
        return False
    contract = x.attributes["contract"][0]
    depth = math.prod(x.operands[0].shape[a] for a in contract)
    return depth > 0 and 2 * depth * x.result.size >= LEAST_FLOPS


def flat_offset(tensor: Tensor, indices: Indices) -> Index:
    """The row-major number of an element."""
    return ravel(indices, tensor.shape)


def bring_operands_to_memory(block: Block, is_virtual: Callable[[Instruction], bool]) -> None:
    """Copy what a product would have to compute, or could not step through, while it reads."""

    def is_leaf(tensor: Tensor) -> bool:
        return tensor.producer is None or not is_virtual(tensor.producer)

    made: dict[Tensor, Tensor] = {}
    result: list[Instruction] = []
    for x in block.instructions:
        if is_candidate(x):
            found = describe(x, is_leaf)
            if found is None or found.product(flat_offset) is None or _is_reread(found):
                _copy_operands(x, is_leaf, made, result)
        result.append(x)
    block.instructions = result
    for operand, copy in made.items():
        if not _is_plain(Reader(is_leaf)(operand, _own_indices(operand))):
            _read_copy(block, operand, copy)


def _own_indices(tensor: Tensor) -> Indices:
    return tuple(axis_index(Axis(n)) for n in tensor.shape)


def _read_copy(block: Block, operand: Tensor, copy: Tensor) -> None:
    """Let reductions read the copy, instead of finding out for each element what it is made of."""
    readers = [x for x in block.instructions if x.op.name in REDUCTIONS and operand in x.operands]
    if not readers or operand.producer is None or copy.producer is None:
        return
    block.instructions.remove(copy.producer)
    block.instructions.insert(block.instructions.index(operand.producer) + 1, copy.producer)
    for x in readers:
        x.operands = [copy if y is operand else y for y in x.operands]


def _is_reread(x: Contraction) -> bool:
    """True if rows that are looked up are read so often that they had better lie together."""
    for load, free, other in ((x.a, x.row, x.column), (x.b, x.column, x.row)):
        looked_up = any(isinstance(a, Lookup) for i in load.indices for a in i.terms)
        if looked_up and (other.extent > MOST_READS or free.extent == 1):
            return True
    return False


def _copy_operands(
    x: Instruction,
    is_leaf: Callable[[Tensor], bool],
    made: dict[Tensor, Tensor],
    result: list[Instruction],
) -> None:
    for position, operand in enumerate(x.operands):
        if is_leaf(operand):
            continue
        if operand not in made:
            spec = [(operand.shape, operand.dtype)]
            copy = Instruction(REGISTRY["barrier"], [operand], {}, spec, x.origin)
            made[operand] = copy.result
            result.append(copy)
        x.operands[position] = made[operand]
