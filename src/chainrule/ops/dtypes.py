"""Element types and their promotion, by the Python array API standard.

An integer array that meets a floating one takes the floating type; a Python scalar takes the type
of the array it meets. bfloat16 is ``ml_dtypes``'.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from chainrule.errors import DtypeError

Dtype = np.dtype[Any]

bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{bits}") for bits in (16, 32, 64))
bfloat16 = np.dtype(ml_dtypes.bfloat16)

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
FLOATS = (float16, bfloat16, float32, float64)
NUMERIC = (*SIGNED, *UNSIGNED, *FLOATS)
ALL = (bool_, *NUMERIC)
_FLOAT_SET = frozenset(FLOATS)
_INTEGER_SET = frozenset(SIGNED + UNSIGNED)
_PLAIN = frozenset(ALL)
default_float = float32
default_integer = int64

# what names a type without further thought: its dtype, its name, its NumPy class, Python's types
_KNOWN: dict[Any, Dtype] = (
    {dtype: dtype for dtype in ALL}
    | {str(dtype): dtype for dtype in ALL}
    | {dtype.type: dtype for dtype in ALL}
    | {float: default_float, int: default_integer, bool: bool_}
)


def is_floating(dtype: Dtype) -> bool:
    """True for float16, bfloat16, float32 and float64."""
    return dtype in _FLOAT_SET


def is_integer(dtype: Dtype) -> bool:
    """True for the signed and unsigned integers; bool is not one."""
    return dtype in _INTEGER_SET


def as_dtype(dtype: Any) -> Dtype:
    """Turn a name, NumPy dtype or Python type into one of the supported dtypes.

    Raises:
        DtypeError: The type is not supported (complex, object, strings, ...).
    """
    if isinstance(dtype, np.dtype) and dtype in _PLAIN:
        return dtype
    try:
        known = _KNOWN.get(dtype)
        if known is None and dtype is not None:
            known = _KNOWN.get(np.dtype(dtype).newbyteorder("="))
    except TypeError:
        known = None
    if known is None:
        raise DtypeError(
            "this element type is not supported",
            expected=", ".join(str(supported) for supported in ALL),
            got=str(dtype),
        )
    return known


def _promote_pair(a: Dtype, b: Dtype) -> Dtype | None:
    if a == b:
        return a
    if a == bool_ or b == bool_:
        return b if a == bool_ else a
    if is_floating(a) or is_floating(b):
        if not (is_floating(a) and is_floating(b)):
            return a if is_floating(a) else b
        if a.itemsize == b.itemsize:
            return float32  # float16 with bfloat16: neither holds the other
        return a if a.itemsize > b.itemsize else b
    promoted = np.promote_types(a, b)
    return promoted if promoted.kind in "iu" else None  # uint64 with a signed type


_PROMOTIONS = {(a, b): _promote_pair(a, b) for a in ALL for b in ALL}


def promote(a: Dtype, b: Dtype) -> Dtype:
    """Return the type that holds both; raise DtypeError for uint64 with a signed integer."""
    promoted = _PROMOTIONS[a, b]
    if promoted is None:
        raise DtypeError(
            f"{a} and {b} have no common integer type",
            fix=f"cast one of them: cr.astype(x, {a})",
        )
    return promoted
