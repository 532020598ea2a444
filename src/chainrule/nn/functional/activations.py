"""Activation functions. Softmax and its logarithm are Composites with derivatives of their own."""

from __future__ import annotations

import math
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.ops import composite, dtypes
from chainrule.ops.operands import normalize_axis
from chainrule.ops.origin import here
from chainrule.ops.spelling import answers_spelling

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def sigmoid(x: Any) -> Array:
    """1 / (1 + exp(−x)), in (0, 1)."""
    return ops.sigmoid(x)


def tanh(x: Any) -> Array:
    """Hyperbolic tangent, in (−1, 1)."""
    return ops.tanh(x)


def scaled_tanh(x: Any) -> Array:
    """1.7159 tanh(2x/3): ±1 map to ±1 (LeCun et al. 1998, "Efficient BackProp", section 4.4)."""
    return 1.7159 * ops.tanh(ops.as_value(x) * (2.0 / 3.0))


def binary_step(x: Any, threshold: float = 0.0) -> Array:
    """1 where x ≥ threshold, else 0; the derivative is 0."""
    value = ops.as_value(x)
    return ops.astype(value >= threshold, value.dtype)


def sign_step(x: Any, threshold: float = 0.0, *, at_threshold: float = 1.0) -> Array:
    """+1 above the threshold, −1 below, ``at_threshold`` on it; the derivative is 0.

    Args:
        x: Any shape.
        threshold: Where it steps.
        at_threshold: +1 (Rosenblatt's unit: ≥) or −1 (the strict step: >).
    """
    value = ops.as_value(x)
    above = value >= threshold if at_threshold > 0 else value > threshold
    return ops.astype(above, value.dtype) * 2.0 - 1.0


def sign(x: Any) -> Array:
    """−1, 0 or 1; the derivative is 0."""
    return ops.sign(x)


def relu(x: Any) -> Array:
    """max(0, x); the derivative at 0 is 0."""
    return ops.relu(x)


def relu6(x: Any) -> Array:
    """min(max(0, x), 6)."""
    return ops.minimum(ops.relu(x), 6.0)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope · x."""
    value = ops.as_value(x)
    return ops.where(value > 0, value, value * negative_slope)


def prelu(x: Any, weight: Any) -> Array:
    """Leaky ReLU whose slope is learned: one number, or one a channel (axis 1)."""
    value, slope = ops.as_value(x), ops.as_value(weight)
    if slope.size > 1:
        if value.ndim < 2 or value.shape[1] != slope.size:
            raise ShapeError(
                "prelu: the slopes do not fit the channels",
                expected=f"input (batch, {slope.size}, ...)",
                got=str(value.shape),
                where=str(here()),
            )
        slope = slope.reshape((slope.size,) + (1,) * (value.ndim - 2))
    return ops.where(value > 0, value, value * slope)


def elu(x: Any, alpha: float = 1.0) -> Array:
    """x where x > 0, else α (exp(x) − 1) (Clevert et al. 2016)."""
    value = ops.as_value(x)
    # the exponential of a positive number is never taken, so nothing overflows in the branch unused
    return ops.where(value > 0, value, ops.expm1(ops.minimum(value, 0.0)) * alpha)


def selu(x: Any) -> Array:
    """Scaled ELU that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return elu(x, SELU_ALPHA) * SELU_SCALE


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """ln(1 + exp(βx)) / β, a smooth ReLU whose derivative is the logistic function of βx.

    Args:
        x: Any shape.
        beta: Sharpness, > 0.
        threshold: Where βx is above it, the function is x itself to the last bit of float32.
    """
    value = ops.as_value(x)
    scaled = value * beta
    return ops.where(scaled > threshold, value, ops.logaddexp(scaled, 0.0) * (1.0 / beta))


def _below(x: Array) -> Array:
    """Φ(x), the share of the normal distribution below x."""
    return 0.5 * (1 + ops.erf(x * math.sqrt(0.5)))


@composite("gelu_slope", formula="Φ({x}) + {x}·φ({x})")
def _gelu_slope(x: Array) -> Array:
    density = ops.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
    return _below(x) + x * density


# one factor, so that a compiled step keeps one number a unit for its way back and not four
@composite(
    "gelu",
    vjp=lambda g, y, x: (g * _gelu_slope(x),),
    formula="{x}·Φ({x})",
    derivative=("Φ({x}) + {x}·φ({x})",),
)
def _gelu(x: Array) -> Array:
    return x * _below(x)


def gelu(x: Any, approximate: str = "none") -> Array:
    """x Φ(x) (Hendrycks and Gimpel 2016); ``approximate="tanh"`` takes their formula with tanh."""
    value = ops.as_value(x)
    if approximate == "tanh":
        inner = (value + 0.044715 * value * value * value) * math.sqrt(2 / math.pi)
        return 0.5 * value * (1 + ops.tanh(inner))
    return _gelu(value if dtypes.is_floating(value.dtype) else 1.0 * value)


def silu(x: Any) -> Array:
    """x σ(x), also called swish (Ramachandran et al. 2017)."""
    value = ops.as_value(x)
    return value * ops.sigmoid(value)


def mish(x: Any) -> Array:
    """x tanh(softplus(x)) (Misra 2019)."""
    value = ops.as_value(x)
    return value * ops.tanh(softplus(value))


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x limited to [min_val, max_val]."""
    return ops.clip(x, min_val, max_val)


def hardsigmoid(x: Any) -> Array:
    """Piecewise linear logistic function: (x + 3) / 6 limited to [0, 1]."""
    return ops.minimum(ops.relu(ops.as_value(x) + 3.0), 6.0) * (1.0 / 6.0)


def hardswish(x: Any) -> Array:
    """x · hardsigmoid(x) (Howard et al. 2019)."""
    value = ops.as_value(x)
    return value * hardsigmoid(value)


def softsign(x: Any) -> Array:
    """x / (1 + |x|)."""
    value = ops.as_value(x)
    return value / (1 + ops.abs(value))


@answers_spelling
def maxout(x: Any, pieces: int, axis: int = -1) -> Array:
    """The largest of each group of ``pieces`` neighbours along ``axis`` (Goodfellow et al. 2013).

    Args:
        x: Size along ``axis`` divisible by ``pieces``.
        pieces: Linear pieces a unit, ≥ 1.
        axis: Where the pieces lie; its size is divided by ``pieces``.
    """
    value = ops.as_value(x)
    place = axis % value.ndim
    size = value.shape[place]
    if size % pieces:
        raise ShapeError(
            f"maxout: {size} units do not form groups of {pieces}",
            expected=f"a multiple of {pieces} along axis {axis}",
            got=str(size),
            where=str(here()),
        )
    shape = (*value.shape[:place], size // pieces, pieces, *value.shape[place + 1 :])
    return ops.max(value.reshape(shape), axis=place + 1)


@composite("softmax_pullback", formula="{y}·({x} − Σ {x}·{y})")
def _softmax_pullback(g: Array, y: Array, *, axis: int) -> Array:
    return y * (g - ops.sum(g * y, axis=axis, keepdims=True))


@composite(
    "softmax",
    vjp=lambda g, y, x, *, axis: (_softmax_pullback(g, y, axis=axis),),
    formula="exp({x}) / Σ exp({x})",
    derivative=("{out}ᵢ·(δᵢⱼ − {out}ⱼ)",),
)
def _softmax(x: Array, *, axis: int) -> Array:
    shifted = ops.exp(x - ops.stop_gradient(ops.max(x, axis=axis, keepdims=True)))
    return shifted / ops.sum(shifted, axis=axis, keepdims=True)


@composite("log_softmax_pullback", formula="{x} − exp({y})·Σ {x}")
def _log_softmax_pullback(g: Array, y: Array, *, axis: int) -> Array:
    return g - ops.exp(y) * ops.sum(g, axis=axis, keepdims=True)


@composite(
    "log_softmax",
    vjp=lambda g, y, x, *, axis: (_log_softmax_pullback(g, y, axis=axis),),
    formula="{x} − ln Σ exp({x})",
    derivative=("δᵢⱼ − exp({out}ⱼ)",),
)
def _log_softmax(x: Array, *, axis: int) -> Array:
    shifted = x - ops.stop_gradient(ops.max(x, axis=axis, keepdims=True))
    return shifted - ops.log(ops.sum(ops.exp(shifted), axis=axis, keepdims=True))


@answers_spelling
def softmax(x: Any, axis: int = -1) -> Array:
    """exp(x) / Σ exp(x) along ``axis``: positive, sums to 1, unchanged by a constant added to x."""
    value = ops.as_value(x)
    place = normalize_axis(axis, value.ndim)
    if not value.shape[place]:
        return value
    return _softmax(value, axis=place)


@answers_spelling
def log_softmax(x: Any, axis: int = -1) -> Array:
    """ln softmax(x), accurate where the probability is tiny."""
    value = ops.as_value(x)
    place = normalize_axis(axis, value.ndim)
    if not value.shape[place]:
        return value
    return _log_softmax(value, axis=place)
