"""Casts between element types, as NumPy's records make them: floats saturate, NaN becomes 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.vector_math.half import (
    narrow_bfloat,
    narrow_half,
    widen_bfloat,
    widen_half,
)

Dtype = np.dtype[Any]


def cast(b: Builder, x: Value, source: Dtype, target: Dtype) -> Value:
    """The value in another type."""
    if source == target:
        return x
    if target.kind == "b":
        wide = widen(b, x, source) if _is_short(source) else x
        return b.compare("une" if source.kind in "fV" else "ne", wide, b.constant(wide.type, 0))
    if source.kind in "fV":
        return _from_float(b, x, source, target)
    if target.kind in "fV":
        if _is_short(target):
            return narrow(b, cast(b, x, source, np.dtype(np.float32)), target)
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
        return cast(b, widen(b, x, source), wide, target)
    if target.kind in "iu":
        return _to_integer(b, x, target)
    if _is_short(target):
        return narrow(b, x, target)
    return b.convert(
        "fpext" if target.itemsize > source.itemsize else "fptrunc", x, _element(target)
    )


def _to_integer(b: Builder, x: Value, target: Dtype) -> Value:
    """Towards zero; beyond the type's range its end, NaN 0."""
    limits = np.iinfo(target)
    signed = target.kind == "i"
    raw = b.convert("fptosi" if signed else "fptoui", x, _element(target))
    above = b.compare(
        "oge",
        x,
        b.constant(x.type, float(limits.max + 1)),
    )
    below = b.compare("ole", x, b.constant(x.type, float(limits.min) if signed else -1.0))
    result = b.select(above, b.constant(raw.type, int(limits.max)), raw)
    result = b.select(below, b.constant(raw.type, int(limits.min)), result)
    return b.select(b.compare("uno", x, x), b.constant(raw.type, 0), result)


def widen(b: Builder, x: Value, source: Dtype) -> Value:
    """A 16-bit float, kept as its bits, as float32."""
    return widen_bfloat(b, x) if source.kind == "V" else widen_half(b, x)


def narrow(b: Builder, x: Value, target: Dtype) -> Value:
    """float32 or float64 rounded once to a 16-bit float's bits."""
    return narrow_bfloat(b, x) if target.kind == "V" else narrow_half(b, x)
