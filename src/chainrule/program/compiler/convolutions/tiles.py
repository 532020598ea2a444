"""Which tile something lies in, where tiles are of two sizes."""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.products.product import quotient
from chainrule.program.compiler.products.tiling import Tiling


def tile_of(b: Builder, tiling: Tiling, number: Value) -> tuple[Value, Value]:
    """First element and size of the tile that an element lies in."""
    many, size = tiling.tall
    start = b.mul(quotient(b, number, size), b.i64(size))
    if many == tiling.count:
        return start, b.i64(size)
    border = many * size
    behind = b.sub(number, b.i64(border))
    low = b.add(b.mul(quotient(b, behind, size - 1), b.i64(size - 1)), b.i64(border))
    first = b.compare("slt", number, b.i64(border))
    return b.select(first, start, low), b.select(first, b.i64(size), b.i64(size - 1))
