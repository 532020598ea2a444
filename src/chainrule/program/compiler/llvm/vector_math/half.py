"""float16 and bfloat16 as bits: widened to and narrowed from float and double.

LLVM calls a library for most of these conversions, so they are written out in integers, except
where the processor converts float16 itself (F16C, AVX-512, NEON).
"""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    bits,
    compare,
    from_bits,
    with_constant,
)

_CONVERTS_HALF = ("avx512", "avx2", "neon")


def widen_half(b: Builder, x: Value) -> Value:
    """float16, as ``i16`` bits, to ``float``: exact."""
    if b.module.target.name in _CONVERTS_HALF:
        return b.convert("fpext", b.convert("bitcast", x, "half"), "float")
    wide = b.convert("zext", x, "i32")
    magnitude = with_constant(b, "shl", with_constant(b, "and", wide, 0x7FFF), 13)
    sign = with_constant(b, "shl", with_constant(b, "and", wide, 0x8000), 16)
    # normal numbers need another exponent bias, Inf and NaN the highest exponent
    rebiased = with_constant(b, "add", magnitude, (127 - 15) << 23)
    highest = with_constant(b, "add", magnitude, (255 - 31) << 23)
    special = compare(b, "uge", magnitude, 31 << 23)
    normal = b.select(special, highest, rebiased)
    # a denormal is its mantissa times 2⁻²⁴: with the bits of ½ before it, ½ too much
    implied = from_bits(b, with_constant(b, "add", magnitude, (127 - 14) << 23))
    denormal = bits(b, with_constant(b, "fadd", implied, -(2.0**-14)))
    small = compare(b, "ult", magnitude, 1 << 23)
    return from_bits(b, b.binary("or", b.select(small, denormal, normal), sign))


def narrow_half(b: Builder, x: Value) -> Value:
    """``float`` or ``double`` to float16 as ``i16`` bits, rounded once to nearest even."""
    if element_of(x.type) == "double":
        x = _round_to_odd(b, x)
    if b.module.target.name in _CONVERTS_HALF:
        return b.convert("bitcast", b.convert("fptrunc", x, "half"), "i16")
    whole = bits(b, x)
    sign = with_constant(b, "lshr", with_constant(b, "and", whole, -(1 << 31)), 16)
    size = with_constant(b, "and", whole, (1 << 31) - 1)
    # halves of the last place are rounded to even by adding just below one half, or one half
    odd = with_constant(b, "and", with_constant(b, "lshr", size, 13), 1)
    rounded = b.add(with_constant(b, "add", size, ((15 - 127) << 23) + 0xFFF), odd)
    normal = with_constant(b, "lshr", rounded, 13)
    # below 2⁻¹⁴ the sum with ½ rounds to multiples of 2⁻²⁴, the mantissa's lowest bits
    shifted = bits(b, with_constant(b, "fadd", from_bits(b, size), 0.5))
    denormal = with_constant(b, "sub", shifted, 126 << 23)
    result = b.select(compare(b, "ult", size, (127 - 14) << 23), denormal, normal)
    infinity = b.constant(size.type, 0x7C00)
    result = b.select(compare(b, "uge", size, (127 + 16) << 23), infinity, result)
    quiet = b.constant(size.type, 0x7E00)
    result = b.select(compare(b, "ugt", size, 255 << 23), quiet, result)
    return b.convert("trunc", b.binary("or", result, sign), "i16")


def _round_to_odd(b: Builder, x: Value) -> Value:
    """double to float so that a second rounding to fewer bits is right.

    An inexact result has its last bit set (S. Boldo and G. Melquiond, "Emulation of FMA and
    correctly rounded sums", IEEE Transactions on Computers 2008).
    """
    nearest = b.convert("fptrunc", x, "float")
    back = b.convert("fpext", nearest, "double")
    size, back_size = (b.call_intrinsic("llvm.fabs", x.type, v) for v in (x, back))
    whole = bits(b, nearest)
    above = b.convert("zext", b.compare("ogt", back_size, size), "i32")
    inexact = b.convert("zext", b.compare("one", back, x), "i32")
    # towards 0 first, and then the last bit
    return from_bits(b, b.binary("or", b.sub(whole, above), inexact))


def widen_bfloat(b: Builder, x: Value) -> Value:
    """bfloat16, as ``i16`` bits, to ``float``: exact."""
    return from_bits(b, with_constant(b, "shl", b.convert("zext", x, "i32"), 16))


def narrow_bfloat(b: Builder, x: Value) -> Value:
    """``float`` or ``double`` to bfloat16 as ``i16`` bits, rounded once to nearest even."""
    if element_of(x.type) == "double":
        x = _round_to_odd(b, x)
    whole = bits(b, x)
    odd = with_constant(b, "and", with_constant(b, "lshr", whole, 16), 1)
    rounded = b.add(with_constant(b, "add", whole, 0x7FFF), odd)
    quiet = with_constant(b, "or", whole, 0x00400000)
    result = b.select(b.compare("uno", x, x), quiet, rounded)
    return b.convert("trunc", with_constant(b, "lshr", result, 16), "i16")
