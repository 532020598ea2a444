"""What the array API standard asks about element types."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype, as_dtype
from chainrule.ops.operands import common_dtype, is_value

_KINDS: dict[str, tuple[Dtype, ...]] = {
    "bool": (dtypes.bool_,),
    "signed integer": dtypes.SIGNED,
    "unsigned integer": dtypes.UNSIGNED,
    "integral": (*dtypes.SIGNED, *dtypes.UNSIGNED),
    "real floating": dtypes.FLOATS,
    "numeric": (*dtypes.SIGNED, *dtypes.UNSIGNED, *dtypes.FLOATS),
}


def _dtype_of(x: Any) -> Dtype:
    return as_dtype(x.dtype) if is_value(x) or isinstance(x, np.ndarray) else as_dtype(x)


def finfo(x: Any, /) -> Any:
    """Limits of a floating type: ``bits``, ``eps``, ``max``, ``min``, ``smallest_normal``."""
    return ml_dtypes.finfo(_dtype_of(x))  # type: ignore[no-untyped-call]


def iinfo(x: Any, /) -> Any:
    """Limits of an integer type: ``bits``, ``max``, ``min``."""
    return np.iinfo(_dtype_of(x))


def isdtype(dtype: Any, kind: Any) -> bool:
    """True if ``dtype`` is of a kind: a dtype, a name such as ``"real floating"``, or a tuple."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str):
        if kind == "complex floating":
            return False
        if kind not in _KINDS:
            raise ArgumentError(
                "isdtype: unknown kind", expected=", ".join(map(repr, _KINDS)), got=repr(kind)
            )
        return as_dtype(dtype) in _KINDS[kind]
    return as_dtype(dtype) == as_dtype(kind)


def result_type(*operands: Any) -> Dtype:
    """The type that arrays, dtypes and Python scalars take together."""
    values = [
        np.empty(0, as_dtype(x)) if isinstance(x, np.dtype | str | type) else x for x in operands
    ]
    return common_dtype(tuple(values))


def can_cast(from_: Any, to: Any, /) -> bool:
    """True if promotion leads from one type to the other without loss: not from int to float."""
    source, target = _dtype_of(from_), as_dtype(to)
    if dtypes.is_integer(source) and dtypes.is_floating(target):
        return False
    try:
        return dtypes.promote(source, target) == target
    except TypeError:
        return False
