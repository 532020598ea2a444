"""Numbers and arrays as a reader wants them: six digits, of large arrays shape and range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_SINGLE = 3e-7  # relative; float32 knows no better
FEW = 6  # arrays of at most this many elements are written in full


def number(value: Any) -> str:
    """One number: short decimals as they are, others with six significant digits.

    >>> number(0.4), number(0.08216704), number(-2.0), number(1e-9)
    ('0.4', '0.0821670', '−2', '1e-09')
    """
    kind = np.asarray(value).dtype
    if kind.kind in "biu":
        return str(bool(value)) if kind.kind == "b" else str(int(value)).replace("-", "−")
    x = float(value)
    if x == 0:
        return "0"
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    short = f"{x:.4g}"
    exact = abs(float(short) - x) <= _SINGLE * abs(x)
    text = short if exact else f"{x:#.6g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def entries(array: np.ndarray) -> str:
    """All elements, nested in brackets."""
    if array.ndim == 0:
        return number(array[()])
    return "[" + ", ".join(entries(part) for part in array) + "]"


def brief(array: np.ndarray) -> str:
    """A value on one line: in full if small, else its shape, range, mean and first entries."""
    array = as_numeric(array)
    if array.size <= FEW:
        return entries(array)
    first = array.reshape(-1)[0]
    if (array == first).all():
        return f"{shape_text(array.shape)}: all {number(first)}"
    return f"{shape_text(array.shape)}: {statistics(array)}, entries {first_entries(array)}"


def statistics(array: np.ndarray) -> str:
    """``"−0.5 to 1.2, mean 0.3"``."""
    low, high, mean = array.min(), array.max(), array.mean(dtype=np.float64)
    return f"{_digits(low)} to {_digits(high)}, mean {_digits(mean)}"


def first_entries(array: np.ndarray, count: int = 3) -> str:
    """The first few elements in reading order."""
    shown = ", ".join(_digits(x) for x in array.reshape(-1)[:count])
    return f"{shown}, …" if array.size > count else shown


def _digits(value: Any) -> str:
    text = f"{float(value):.4g}"
    return "−" + text[1:] if text.startswith("-") else text


def shape_text(shape: tuple[int, ...]) -> str:
    """``"(2×3)"``; a scalar's is ``"()"``."""
    return "(" + "×".join(str(n) for n in shape) + ")"


def as_numeric(array: np.ndarray) -> np.ndarray:
    """Types that NumPy does not know itself (bfloat16) as float32."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array
