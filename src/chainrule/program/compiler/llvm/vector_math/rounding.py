"""floor, ceil, round and trunc: one instruction, or a few where the processor has none (SSE2)."""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    MANTISSA_BITS,
    absolute,
    compare,
    with_sign,
)

_HAS_ROUNDING = ("avx512", "avx2", "neon")


def nearest(b: Builder, x: Value) -> Value:
    """The nearest whole number, halves to even."""
    if b.module.target.name in _HAS_ROUNDING:
        return b.call_intrinsic("llvm.roundeven", x.type, x)
    size = absolute(b, x)
    return with_sign(b, _nearest_of_size(b, size), x, size)


def _nearest_of_size(b: Builder, size: Value) -> Value:
    """``size`` rounded: in a sum with 2^mantissa bits nothing is left after the point."""
    limit = b.constant(size.type, 2.0 ** MANTISSA_BITS[element_of(size.type)])
    rounded = b.sub(b.add(size, limit), limit)
    return b.select(b.compare("olt", size, limit), rounded, size)


def floor(b: Builder, x: Value) -> Value:
    """The largest whole number not above x."""
    if b.module.target.name in _HAS_ROUNDING:
        return b.call_intrinsic("llvm.floor", x.type, x)
    whole = nearest(b, x)
    excess = _one_where(b, b.compare("ogt", whole, x), x.type)
    return _signed_like(b, b.sub(whole, excess), x)


def ceil(b: Builder, x: Value) -> Value:
    """The smallest whole number not below x."""
    if b.module.target.name in _HAS_ROUNDING:
        return b.call_intrinsic("llvm.ceil", x.type, x)
    whole = nearest(b, x)
    missing = _one_where(b, b.compare("olt", whole, x), x.type)
    return _signed_like(b, b.add(whole, missing), x)


def trunc(b: Builder, x: Value) -> Value:
    """x without what follows the point."""
    if b.module.target.name in _HAS_ROUNDING:
        return b.call_intrinsic("llvm.trunc", x.type, x)
    size = absolute(b, x)
    whole = _nearest_of_size(b, size)
    excess = _one_where(b, b.compare("ogt", whole, size), x.type)
    return with_sign(b, b.sub(whole, excess), x, size)


def _one_where(b: Builder, condition: Value, type_: str) -> Value:
    return b.select(condition, b.constant(type_, 1.0), b.constant(type_, 0.0))


def _signed_like(b: Builder, result: Value, x: Value) -> Value:
    """A result that is 0 keeps the sign of x."""
    size = absolute(b, x)
    zero = with_sign(b, b.constant(x.type, 0.0), x, size)
    return b.select(compare(b, "oeq", result, 0.0), zero, result)
