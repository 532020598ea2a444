"""Casts between element types, as NumPy's records make them: floats saturate, NaN becomes 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.program.compiler.llvm.builder import Builder, Value

Dtype = np.dtype[Any]
_HALF_IN_HARDWARE = ("avx512", "avx2", "neon")


def cast(b: Builder, x: Value, source: Dtype, target: Dtype) -> Value:
    """The value in another type."""
    if source == target:
        return x
    if target.kind == "b":
        wide = to_float32(b, x, source) if _is_short(source) else x
        return b.compare("une" if source.kind in "fV" else "ne", wide, b.constant(wide.type, 0))
    if source.kind in "fV":
        return _from_float(b, x, source, target)
    if target.kind in "fV":
        if _is_short(target):
            return from_float32(b, cast(b, x, source, np.dtype(np.float32)), target)
        return b.convert("sitofp" if source.kind == "i" else "uitofp", x, _element(target))
    if source.kind == "b":
        return b.convert("zext", x, _element(target))
    if source.itemsize == target.itemsize:
        return x
    if source.itemsize > target.itemsize:
        return b.convert("trunc", x, _element(target))
    return b.convert("sext" if source.kind == "i" else "zext", x, _element(target))


def _element(dtype: Dtype) -> str:
    if dtype.kind in "iu":
        return f"i{8 * dtype.itemsize}"
    return "float" if dtype.itemsize == 4 else "double"


def _is_short(dtype: Dtype) -> bool:
    return dtype.kind in "fV" and dtype.itemsize == 2


def _from_float(b: Builder, x: Value, source: Dtype, target: Dtype) -> Value:
    if _is_short(source):
        wide = np.dtype(np.float32)
        return cast(b, to_float32(b, x, source), wide, target)
    if target.kind in "iu":
        return _to_integer(b, x, target)
    if _is_short(target):
        if source.itemsize == 8:
            x = _to_odd(b, x)
        return from_float32(b, x, target)
    return b.convert(
        "fpext" if target.itemsize > source.itemsize else "fptrunc", x, _element(target)
    )


def _to_odd(b: Builder, x: Value) -> Value:
    """float64 → float32 rounded to odd, so that rounding once more to 16 bits is right."""
    near = b.convert("fptrunc", x, "float")
    back = b.convert("fpext", near, "double")
    bits = b.convert("bitcast", near, "i32")
    one = b.constant(bits.type, 1)
    exact = b.binary("or", b.compare("oeq", back, x), b.compare("uno", x, x))
    even = b.compare("eq", b.binary("and", bits, one), b.constant(bits.type, 0))
    magnitude = b.call_intrinsic("llvm.fabs", x.type, x)
    over = b.compare("ogt", b.call_intrinsic("llvm.fabs", back.type, back), magnitude)
    odd = b.select(over, b.sub(bits, one), b.add(bits, one))
    chosen = b.select(exact, bits, b.select(even, odd, bits))
    return b.convert("bitcast", chosen, "float")


def _to_integer(b: Builder, x: Value, target: Dtype) -> Value:
    """Towards zero; beyond the type's range its end, NaN 0."""
    limits = np.iinfo(target)
    signed = target.kind == "i"
    raw = b.convert("fptosi" if signed else "fptoui", x, _element(target))
    above = b.compare(
        "oge",
        x,
        b.constant(x.type, float(limits.max) if target.itemsize == 8 else limits.max + 1.0),
    )
    below = b.compare("ole", x, b.constant(x.type, float(limits.min) if signed else -1.0))
    result = b.select(above, b.constant(raw.type, int(limits.max)), raw)
    result = b.select(below, b.constant(raw.type, int(limits.min)), result)
    return b.select(b.compare("uno", x, x), b.constant(raw.type, 0), result)


def to_float32(b: Builder, x: Value, source: Dtype) -> Value:
    """A 16-bit float as float32."""
    if source.kind == "V":
        bits = b.convert("zext", b.convert("bitcast", x, "i16"), "i32")
        return b.convert("bitcast", b.binary("shl", bits, b.constant(bits.type, 16)), "float")
    if b.module.target.name in _HALF_IN_HARDWARE:
        return b.convert("fpext", x, "float")
    return _half_to_float(b, b.convert("bitcast", x, "i16"))


def from_float32(b: Builder, x: Value, target: Dtype) -> Value:
    """float32 rounded to a 16-bit float, halves to even."""
    if target.kind == "V":
        return b.convert("bitcast", _to_bfloat_bits(b, x), "bfloat")
    if b.module.target.name in _HALF_IN_HARDWARE:
        return b.convert("fptrunc", x, "half")
    return b.convert("bitcast", _to_half_bits(b, x), "half")


def _to_bfloat_bits(b: Builder, x: Value) -> Value:
    bits = b.convert("bitcast", x, "i32")

    def number(n: int) -> Value:
        return b.constant(bits.type, n)

    high = b.binary("lshr", bits, number(16))
    tie = b.add(b.binary("and", high, number(1)), number(0x7FFF))
    rounded = b.binary("lshr", b.add(bits, tie), number(16))
    quiet = b.binary("or", high, number(0x40))
    chosen = b.select(b.compare("uno", x, x), quiet, rounded)
    return b.convert("trunc", chosen, "i16")


def _half_to_float(b: Builder, half: Value) -> Value:
    """Without an instruction for it: the exponent is moved, denormals go through a subtraction."""
    bits = b.convert("zext", half, "i32")

    def number(n: int) -> Value:
        return b.constant(bits.type, n)

    sign = b.binary("shl", b.binary("and", bits, number(0x8000)), number(16))
    shifted = b.binary("shl", b.binary("and", bits, number(0x7FFF)), number(13))
    exponent = b.binary("and", shifted, number(0x0F800000))
    normal = b.add(shifted, number((127 - 15) << 23))
    special = b.add(normal, number((128 - 16) << 23))
    small = b.convert("bitcast", b.add(normal, number(1 << 23)), "float")
    least = b.convert("bitcast", number(113 << 23), "float")
    denormal = b.convert("bitcast", b.sub(small, least), "i32")
    result = b.select(b.compare("eq", exponent, number(0x0F800000)), special, normal)
    result = b.select(b.compare("eq", exponent, number(0)), denormal, result)
    return b.convert("bitcast", b.binary("or", result, sign), "float")


def _to_half_bits(b: Builder, x: Value) -> Value:
    bits = b.convert("bitcast", x, "i32")

    def number(n: int) -> Value:
        return b.constant(bits.type, n)

    sign = b.binary("and", bits, number(-(1 << 31)))
    size = b.binary("xor", bits, sign)
    not_a_number = b.compare("ugt", size, number(255 << 23))
    special = b.select(not_a_number, number(0x7E00), number(0x7C00))
    magic = number(((127 - 15) + (23 - 10) + 1) << 23)
    pushed = b.add(b.convert("bitcast", size, "float"), b.convert("bitcast", magic, "float"))
    denormal = b.sub(b.convert("bitcast", pushed, "i32"), magic)
    odd = b.binary("and", b.binary("lshr", size, number(13)), number(1))
    moved = b.add(size, number(((15 - 127) << 23) + 0xFFF))
    normal = b.binary("lshr", b.add(moved, odd), number(13))
    result = b.select(b.compare("ult", size, number(113 << 23)), denormal, normal)
    result = b.select(b.compare("uge", size, number((127 + 16) << 23)), special, result)
    result = b.binary("or", result, b.binary("lshr", sign, number(16)))
    return b.convert("trunc", result, "i16")
