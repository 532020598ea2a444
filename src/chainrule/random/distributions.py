"""Distributions: random bits shaped by formulas that are built from ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DtypeError
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.hooks import Operand
from chainrule.ops.manipulation import as_shape
from chainrule.ops.operands import normalize_axis
from chainrule.ops.origin import here
from chainrule.ops.record import Shape
from chainrule.random.keys import ShapeLike, bits, split

_SQRT_2 = math.sqrt(2.0)
_SMALLEST_PROBABILITY = 1e-5  # of a truncated normal's interval: below, the inverse loses digits


def _floating(dtype: Any) -> Dtype:
    found = dtypes.as_dtype(dtypes.default_float if dtype is None else dtype)
    if not dtypes.is_floating(found):
        raise DtypeError(
            "random floating numbers need a floating type",
            expected=", ".join(str(d) for d in dtypes.FLOATS),
            got=str(found),
            fix="for integers use randint",
            where=str(here()),
        )
    return found


def _wide(dtype: Dtype) -> Dtype:
    """The type that transforms compute in: 16-bit draws are computed in float32."""
    return dtypes.float64 if dtype == dtypes.float64 else dtypes.float32


def _digits(dtype: Dtype) -> int:
    """Binary digits of a floating type's numbers: 24 for float32, 53 for float64."""
    return int(ops.finfo(dtype).nmant) + 1


def _mantissa(key: Array, shape: Shape, digits: int) -> Array:
    """Whole numbers below 2^digits as float32 (digits ≤ 24) or float64 (53)."""
    if digits <= 24:
        return (bits(key, shape) >> (32 - digits)).astype(dtypes.float32)
    words = bits(key, (*shape, 2))
    high = (words[..., 0] >> 5).astype(dtypes.float64)
    low = (words[..., 1] >> 6).astype(dtypes.float64)
    return high * 2.0**26 + low


def _positive(key: Array, shape: Shape, dtype: Dtype) -> Array:
    """Numbers in (0, 1], fine near 0: what a logarithm may be taken of."""
    if dtype == dtypes.float64:
        return (_mantissa(key, shape, 53) + 0.5) * 2.0**-53
    return (bits(key, shape).astype(dtypes.float32) + 0.5) * 2.0**-32


def uniform(
    key: Array,
    shape: ShapeLike = (),
    low: Operand = 0.0,
    high: Operand = 1.0,
    dtype: Any = None,
) -> Array:
    """Numbers spread evenly over [low, high).

    Args:
        key: uint32, shape (..., 2).
        shape: Shape of the draw.
        low: Smallest number; a number or an Array that broadcasts to ``shape``.
        high: Bound that is not reached.
        dtype: Floating type; default float32. On [0, 1) float32 has 24 random bits, float64 53.

    Raises:
        ArgumentError: ``low`` is not below ``high``.

    >>> import chainrule as cr
    >>> u = uniform(cr.random.key(0), (1000,), -1.0, 1.0)
    >>> bool(u.min() >= -1), bool(u.max() < 1)
    (True, True)
    """
    kind = _floating(dtype)
    digits = _digits(kind)
    unit = (_mantissa(key, as_shape(shape), digits) * 2.0**-digits).astype(kind)
    if isinstance(low, int | float) and isinstance(high, int | float):
        if (low, high) == (0, 1):
            return unit
        if not low < high:
            raise ArgumentError(
                "uniform: the interval is empty",
                expected="low < high",
                got=f"[{low}, {high})",
                where=str(here()),
            )
    value = unit * (ops.as_value(high, kind) - low) + ops.as_value(low, kind)
    # the sum may round up to high
    return ops.where(value < high, value, low).astype(kind)


def normal(
    key: Array,
    shape: ShapeLike = (),
    mean: Operand = 0.0,
    standard_deviation: Operand = 1.0,
    dtype: Any = None,
) -> Array:
    """Normal numbers: mean + standard_deviation·√(−2 ln u)·cos(2πv), u and v uniform.

    Args:
        key: uint32, shape (..., 2).
        shape: Shape of the draw.
        mean: Number or Array that broadcasts to ``shape``.
        standard_deviation: Likewise, at least 0.
        dtype: Floating type; default float32. A float32 draw is at most 6.8 deviations away.

    Reference: Box, Muller, "A note on the generation of random normal deviates", 1958.
    """
    kind = _floating(dtype)
    wide = _wide(kind)
    words, digits = split(key), _digits(wide)
    sizes = as_shape(shape)
    radius = ops.sqrt(ops.log(_positive(words[..., 0, :], sizes, wide)) * -2.0)
    angle = _mantissa(words[..., 1, :], sizes, digits) * (2.0 * math.pi * 2.0**-digits)
    value = (radius * ops.cos(angle)).astype(kind)
    if isinstance(mean, int | float) and isinstance(standard_deviation, int | float):
        if standard_deviation < 0:
            raise ArgumentError(
                "normal: the standard deviation is negative",
                expected="standard_deviation ≥ 0",
                got=str(standard_deviation),
                where=str(here()),
            )
        if (mean, standard_deviation) == (0, 1):
            return value
    return (value * standard_deviation + mean).astype(kind)


def truncated_normal(
    key: Array, shape: ShapeLike = (), low: float = -2.0, high: float = 2.0, dtype: Any = None
) -> Array:
    """Standard normal numbers that fall between ``low`` and ``high``.

    Args:
        key: uint32, shape (..., 2).
        shape: Shape of the draw.
        low: Lower bound, in standard deviations; may be −inf.
        high: Upper bound; may be inf.
        dtype: Floating type; default float32.

    Raises:
        ArgumentError: ``low`` is not below ``high``, or the interval is so far out that it holds
            less than 10⁻⁵ of the distribution.
    """
    kind = _floating(dtype)
    bounds = math.erf(low / _SQRT_2), math.erf(high / _SQRT_2)
    if not bounds[1] - bounds[0] >= 2 * _SMALLEST_PROBABILITY:
        raise ArgumentError(
            "truncated_normal: there is next to nothing between the bounds",
            expected=f"low < high, {_SMALLEST_PROBABILITY:g} or more of the normal distribution",
            got=f"low={low}, high={high}",
            where=str(here()),
        )
    # the error function's scale in float64 throughout: in float32 the tails would be a few steps
    level = _positive(key, as_shape(shape), dtypes.float64) * (bounds[1] - bounds[0]) + bounds[0]
    value = _inverse_erf(level, refine=kind == dtypes.float64) * _SQRT_2
    return ops.clip(value.astype(kind), low, high)


# Giles, "Approximating the erfinv function", GPU Computing Gems 2012: polynomials in
# w = −ln(1 − x²), one for the centre (in w − 2.5) and one for the tails (in √w − 3)
_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def _inverse_erf(x: Array, refine: bool) -> Array:
    """The number whose error function is x, to 1e-6; with ``refine`` by two Newton steps more."""
    # at ±1 the inverse is infinite; one step inside it is 5.9
    x = ops.clip(x, -1.0 + 2.0**-53, 1.0 - 2.0**-53)
    w = -ops.log((1.0 - x) * (1.0 + x))
    centre, tail = w - 2.5, ops.sqrt(ops.maximum(w, 5.0)) - 3.0
    y = ops.where(w < 5.0, _polynomial(_CENTRE, centre), _polynomial(_TAIL, tail)) * x
    for _ in range(2 if refine else 0):
        y = y - (ops.erf(y) - x) * ops.exp(y * y) * (math.sqrt(math.pi) / 2.0)
    return y


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    total: Any = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def exponential(key: Array, shape: ShapeLike = (), dtype: Any = None) -> Array:
    """Exponentially distributed numbers of mean 1: −ln u, u in (0, 1].

    Args:
        key: uint32, shape (..., 2).
        shape: Shape of the draw.
        dtype: Floating type; default float32.
    """
    kind = _floating(dtype)
    return (-ops.log(_positive(key, as_shape(shape), _wide(kind)))).astype(kind)


def gumbel(key: Array, shape: ShapeLike = (), dtype: Any = None) -> Array:
    """Gumbel numbers, −ln(−ln u): added to logits, the largest is a draw from the softmax.

    Args:
        key: uint32, shape (..., 2).
        shape: Shape of the draw.
        dtype: Floating type; default float32. Always finite.
    """
    kind = _floating(dtype)
    wide = _wide(kind)
    # u = 1 − v with v fine near 0, since the large draws decide; v = 1 would give −inf
    v = ops.minimum(_positive(key, as_shape(shape), wide), 1.0 - 2.0 ** -_digits(wide))
    return (-ops.log(-ops.log1p(-v))).astype(kind)


def bernoulli(key: Array, p: Operand = 0.5, shape: ShapeLike | None = None) -> Array:
    """True with probability ``p``: where random bits are below p·2³²; equal in every engine.

    Args:
        key: uint32, shape (..., 2).
        p: Probability in [0, 1]; a number or an Array that broadcasts to ``shape``.
        shape: Shape of the draw; default that of ``p``.

    Returns:
        bool, shape (..., *shape). 0 never gives True, 1 always does.

    Raises:
        ArgumentError: A number ``p`` is outside [0, 1].
    """
    if isinstance(p, int | float) and not 0 <= p <= 1:
        raise ArgumentError(
            "bernoulli: p is no probability", expected="0 to 1", got=str(p), where=str(here())
        )
    # in float64 whatever the type of p, so that 0.1 means one threshold everywhere
    chance = ops.as_value(np.float64(p) if isinstance(p, int | float) else p, dtypes.float64)
    words = bits(key, chance.shape if shape is None else shape)
    threshold = ops.ceil(chance * 2.0**32).astype(dtypes.uint32)  # saturates for p = 1
    return (words < threshold) | (chance >= 1.0)


def categorical(key: Array, logits: Operand, axis: int = -1, shape: ShapeLike = ()) -> Array:
    """Draw class numbers with the probabilities softmax(logits), by the largest Gumbel sum.

    Args:
        key: uint32, shape (2,).
        logits: Unnormalised logarithms of probabilities, floating; −inf excludes a class.
        axis: Axis of the classes.
        shape: Draws for each distribution, in front.

    Returns:
        int64, shape (*shape, *logits.shape without the axis).
    """
    values = ops.as_value(logits)
    position = normalize_axis(axis, len(values.shape)) - len(values.shape)
    noise = gumbel(key, (*as_shape(shape), *values.shape), _floating(values.dtype))
    return ops.argmax(values + noise, axis=position)


def randint(key: Array, shape: ShapeLike, low: int, high: int, dtype: Any = None) -> Array:
    """Whole numbers spread evenly over low .. high − 1.

    Args:
        key: uint32, shape (..., 2).
        shape: Shape of the draw.
        low: Smallest number.
        high: Bound that is not reached.
        dtype: Integer type that holds them all; default int64.

    Raises:
        ArgumentError: The interval is empty, or outside the type.

    Each number is 64 random bits modulo high − low: uneven by at most (high − low) / 2⁶⁴.
    """
    kind = dtypes.as_dtype(dtypes.default_integer if dtype is None else dtype)
    if not dtypes.is_integer(kind):
        raise DtypeError("randint needs an integer type", got=str(kind), where=str(here()))
    limits = np.iinfo(kind)
    if not limits.min <= low < high <= limits.max + 1:
        raise ArgumentError(
            "randint: no such interval",
            expected=f"{limits.min} ≤ low < high ≤ {limits.max + 1}",
            got=f"low={low}, high={high}",
            where=str(here()),
        )
    words = _long_words(key, as_shape(shape))
    if high - low < 2**64:
        words = words % ops.as_value(np.uint64(high - low))
    return words.astype(kind) + ops.as_value(np.asarray(low, kind))


def _long_words(key: Array, shape: Shape) -> Array:
    words = bits(key, (*shape, 2)).astype(dtypes.uint64)
    return (words[..., 0] << 32) | words[..., 1]


def permutation(key: Array, x: Operand, axis: int = 0) -> Array:
    """A random order: of 0 .. n − 1 for an int n, or of the slices of an Array.

    Args:
        key: uint32, shape (2,).
        x: A number of elements, or an Array.
        axis: Axis of the Array that is shuffled; slices stay whole.

    Returns:
        int64 of shape (n,), or an Array like ``x``. Equal in every engine.

    >>> import chainrule as cr
    >>> sorted(permutation(cr.random.key(3), 5).tolist())
    [0, 1, 2, 3, 4]
    """
    if isinstance(x, int | np.integer):
        if x < 0:
            raise ArgumentError("permutation: n is negative", got=str(x), where=str(here()))
        # 64 bits each, so that equal words, which would keep their order, practically never occur
        return ops.argsort(_long_words(key, (int(x),)))
    values = ops.as_value(x)
    position = normalize_axis(axis, len(values.shape))
    order = permutation(key, values.shape[position])
    return ops.take(values, order, axis=position)
