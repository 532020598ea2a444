"""Statistics and searching, composed of the primitives."""

from __future__ import annotations

import math
from typing import Any

from chainrule.ops import dtypes
from chainrule.ops.binary import where
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.manipulation import concat, full
from chainrule.ops.operands import as_value, normalize_axes, normalize_axis
from chainrule.ops.reductions import accumulated_dtype, running_axis
from chainrule.ops.reductions import max as maximum_of
from chainrule.ops.reductions import sum as sum_of
from chainrule.ops.spelling import answers_spelling
from chainrule.ops.unary import exp, log, sqrt, stop_gradient


@answers_spelling
def mean(x: Operand, /, *, axis: Any = None, keepdims: bool = False) -> Value:
    """Arithmetic mean over ``axis`` (None: all); integers become floating."""
    value = as_value(x)
    if not dtypes.is_floating(value.dtype):
        value = as_value(value, dtypes.default_float)
    count = math.prod(value.shape[a] for a in normalize_axes(axis, len(value.shape)))
    return sum_of(value, axis=axis, keepdims=keepdims) * (1.0 / count if count else math.nan)


@answers_spelling
def var(
    x: Operand, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
) -> Value:
    """Mean squared distance from the mean; divides by n − ``correction``."""
    value = as_value(x)
    count = math.prod(value.shape[a] for a in normalize_axes(axis, len(value.shape)))
    centred = value - mean(value, axis=axis, keepdims=True)
    divisor = count - correction
    total = sum_of(centred * centred, axis=axis, keepdims=keepdims)
    return total * (1.0 / divisor if divisor > 0 else math.nan)


@answers_spelling
def std(
    x: Operand, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
) -> Value:
    """Square root of the variance."""
    return sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


@answers_spelling
def logsumexp(x: Operand, /, *, axis: Any = None, keepdims: bool = False) -> Value:
    """ln Σ exp(x) over ``axis``, without overflow; −inf where all are −inf."""
    value = as_value(x)
    top = stop_gradient(maximum_of(value, axis=axis, keepdims=True))
    # an infinite maximum is not shifted by: ∞ − ∞ would be NaN
    shift = where(top * 0 == 0, top, 0.0)
    result = log(sum_of(exp(value - shift), axis=axis, keepdims=True)) + shift
    if keepdims:
        return result
    axes = normalize_axes(axis, len(value.shape))
    kept = tuple(n for a, n in enumerate(value.shape) if a not in axes)
    return result.reshape(kept)


@answers_spelling
def diff(x: Operand, /, *, axis: int = -1, n: int = 1) -> Value:
    """Differences of neighbours along ``axis``, ``n`` times over."""
    value = as_value(x)
    position = normalize_axis(axis, len(value.shape))
    before = (slice(None),) * position
    for _ in range(n):
        value = value[(*before, slice(1, None))] - value[(*before, slice(None, -1))]
    return value


@answers_spelling
def count_nonzero(x: Operand, /, *, axis: Any = None, keepdims: bool = False) -> Value:
    """How many elements are not zero over ``axis``."""
    return sum_of(as_value(x) != 0, axis=axis, keepdims=keepdims)


@answers_spelling
def cumulative_prod(
    x: Operand, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Value:
    """Running product along ``axis``; one dimension needs no ``axis``."""
    value = as_value(x)
    value = as_value(value, accumulated_dtype(value, dtype))
    position = running_axis(axis, value, "cumulative_prod")
    before = (slice(None),) * position
    length = value.shape[position]
    step = 1
    while step < length:
        # doubling: after each pass a place holds the product of 2·step elements up to itself
        head = value[(*before, slice(None, step))]
        rest = value[(*before, slice(step, None))] * value[(*before, slice(None, length - step))]
        value = concat([head, rest], axis=position)
        step *= 2
    if not include_initial:
        return value
    one = full((*value.shape[:position], 1, *value.shape[position + 1 :]), 1, dtype=value.dtype)
    return concat([one, value], axis=position)
