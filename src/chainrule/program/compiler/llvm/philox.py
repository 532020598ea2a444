"""Philox4x32-10 on vectors of counters: the same bits as ``ops.kernels.philox``.

Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011.
"""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def random_words(
    b: Builder, key0: Value, key1: Value, c0: Value, c1: Value, c2: Value, c3: Value
) -> tuple[Value, Value, Value, Value]:
    """The four words of each block; all arguments are ``i32`` of the same number of lanes."""
    for number in range(10):
        if number:
            key0 = b.add(key0, b.constant(key0.type, _WEYL[0]))
            key1 = b.add(key1, b.constant(key1.type, _WEYL[1]))
        low0, high0 = _multiply(b, c0, _MULTIPLIERS[0])
        low1, high1 = _multiply(b, c2, _MULTIPLIERS[1])
        c0 = b.binary("xor", b.binary("xor", high1, c1), key0)
        c2 = b.binary("xor", b.binary("xor", high0, c3), key1)
        c1, c3 = low1, low0
    return c0, c1, c2, c3


def _multiply(b: Builder, x: Value, factor: int) -> tuple[Value, Value]:
    wide = b.convert("zext", x, "i64")
    product = b.binary("mul", wide, b.constant(wide.type, factor))
    low = b.convert("trunc", product, "i32")
    shifted = b.binary("lshr", product, b.constant(wide.type, 32))
    return low, b.convert("trunc", shifted, "i32")
