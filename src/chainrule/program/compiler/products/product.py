"""What a matrix product is, where its operands lie, and what a plan for it looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chainrule.program.compiler.llvm.builder import Builder, Value


@dataclass(frozen=True)
class Product:
    """``C[m, n] = sum over k of A[m, k] * B[k, n]``, with everything that shapes its code.

    Strides count elements. An operand may be stored as another type than the sum's (bytes of an
    image): it is converted as it is loaded.

    Args:
        rows: Number of m.
        columns: Number of n.
        depth: Number of k; 0 gives zeros.
        element: Type of the sums: ``float`` or ``double``.
        a_row_stride: From A[m, k] to A[m+1, k]; None: every row has a pointer of its own.
        a_depth_stride: From A[m, k] to A[m, k+1]; None: every k has a pointer of its own, to
            A[0, k] (then ``a_row_stride`` is a number).
        b_depth_stride: From B[k, n] to B[k+1, n]; None: every k has a pointer of its own.
        b_column_stride: From B[k, n] to B[k, n+1].
        b_panel: B lies in panels of this many columns, ``[columns / P][depth][P]``, the last
            filled up with zeros; ``b_depth_stride`` is P and ``b_column_stride`` 1. None: it does
            not.
        a_depth_panel: k of A lies in panels of P: A[m, k] at ``m * a_row_stride + k % P +
            (k // P) * a_depth_panel_stride``; ``a_depth_stride`` is 1. None: it does not.
        a_depth_panel_stride: From one panel of k to the next.
        b_depth_panel: The same for B, whose ``b_depth_stride`` is then 1: a resident weight in
            panels read the other way around, as its input gradient does. If both have panels of
            k, of the same P.
        b_depth_panel_stride: From one panel of k to the next.
        a_storage: LLVM type of A in memory; empty: ``element``.
        b_storage: LLVM type of B in memory; empty: ``element``.
    """

    rows: int
    columns: int
    depth: int
    element: str
    a_row_stride: int | None
    a_depth_stride: int | None
    b_depth_stride: int | None
    b_column_stride: int
    b_panel: int | None = None
    a_depth_panel: int | None = None
    a_depth_panel_stride: int = 0
    b_depth_panel: int | None = None
    b_depth_panel_stride: int = 0
    a_storage: str = ""
    b_storage: str = ""

    @property
    def a_type(self) -> str:
        """Type of an element of A in memory."""
        return self.a_storage or self.element

    @property
    def b_type(self) -> str:
        """Type of an element of B in memory."""
        return self.b_storage or self.element

    @property
    def flops(self) -> int:
        """Multiplications and additions together."""
        return 2 * self.rows * self.columns * self.depth


def unchanged(builder: Builder, x: Value) -> Value:
    """The conversion of an operand that is stored as it is used."""
    return x


@dataclass
class Access:
    """How a product's code finds its operands; the callables write code into the Builder.

    Args:
        a: ``(builder, m)`` → address of A[m, 0]; of A[0, k], given k, where ``a_depth_stride`` is
            None.
        b: ``(builder, n)`` → address of B[0, n], n a multiple of the vector's lanes; of B[k, 0],
            given k, where ``b_depth_stride`` is None.
        scratch: Address of ``plan.scratch_bytes`` bytes aligned to 64, shared by all threads.
        convert_a: Turns what was loaded of A (a scalar or a vector of ``a_storage``) into the
            element type.
        convert_b: The same for B.
        prefetch: ``(builder, m, n)``: ask for what the epilogue will want of row m, columns n to
            n + a panel's; called inside the loops over k for rows of the following tile, which
            may lie beyond the last row.
        following: ``(builder, k)`` → address of what will be B[k, 0] in the next product of the
            kind (the next batch's row), whose columns are asked for while these are read.
    """

    a: Callable[[Builder, Value], Value]
    b: Callable[[Builder, Value], Value]
    scratch: Value | None = None
    convert_a: Callable[[Builder, Value], Value] = unchanged
    convert_b: Callable[[Builder, Value], Value] = unchanged
    prefetch: Callable[[Builder, Value, Value], None] | None = None
    following: Callable[[Builder, Value], Value] | None = None


Epilogue = Callable[[Builder, Value, Value, Value, int], None]
"""``(builder, m, n, x, lanes)``: the first ``lanes`` lanes of x are C[m, n], C[m, n+1], ..."""


def strided_access(product: Product, a: Value, b: Value, scratch: Value | None = None) -> Access:
    """Operands that lie at two addresses, as the product's strides say; none is indirect."""
    row, panel = product.a_row_stride, product.b_panel
    if row is None or product.a_depth_stride is None or product.b_depth_stride is None:
        raise ValueError("indirect operands have no single address")

    def a_address(builder: Builder, m: Value) -> Value:
        return builder.offset(a, builder.mul(m, builder.i64(row)), product.a_type)

    def b_address(builder: Builder, n: Value) -> Value:
        if panel is None:
            step = builder.mul(n, builder.i64(product.b_column_stride))
        else:
            step = panel_offset(builder, n, panel, product.depth)
        return builder.offset(b, step, product.b_type)

    return Access(a_address, b_address, scratch)


def panel_offset(builder: Builder, n: Value, panel: int, depth: int) -> Value:
    """Where column n of a matrix of ``depth`` rows in panels begins, in elements."""
    inside = remainder(builder, n, panel)
    return builder.add(builder.mul(builder.sub(n, inside), builder.i64(depth)), inside)


def remainder(builder: Builder, x: Value, divisor: int) -> Value:
    """x modulo a positive constant, of an x that is not negative."""
    if x.name.isdigit():
        return builder.i64(int(x.name) % divisor)
    if divisor & (divisor - 1) == 0:
        return builder.binary("and", x, builder.i64(divisor - 1))
    return builder.binary("urem", x, builder.i64(divisor))


def quotient(builder: Builder, x: Value, divisor: int) -> Value:
    """x divided by a positive constant, rounded down, of an x that is not negative."""
    if divisor == 1:
        return x
    if x.name.isdigit():
        return builder.i64(int(x.name) // divisor)
    return builder.binary("udiv", x, builder.i64(divisor))


def minimum(builder: Builder, x: Value, bound: int) -> Value:
    """The smaller one of x and a constant."""
    if x.name.isdigit():
        return builder.i64(min(int(x.name), bound))
    limit = builder.i64(bound)
    return builder.select(builder.compare("slt", x, limit), x, limit)


def maximum(builder: Builder, x: Value, bound: int) -> Value:
    """The larger one of x and a constant."""
    if x.name.isdigit():
        return builder.i64(max(int(x.name), bound))
    limit = builder.i64(bound)
    return builder.select(builder.compare("sgt", x, limit), x, limit)
