"""Initialisers: how weights begin.

Each takes a shape and returns an Array that is drawn when it is first needed. Without a key the
ambient random state gives one, so that one seed fixes all weights, in order of construction.

Fans: a weight is laid out (out, in, *kernel), as ``Linear`` and the convolutions hold it; with k
the product of the kernel's sizes, fan_in = in·k inputs enter one unit and fan_out = out·k units
read one input. A scale of 1/fan_in keeps the variance from layer to layer on the way forward,
1/fan_out that of the gradients on the way back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from chainrule import ops, random
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.manipulation import as_shape
from chainrule.ops.origin import here
from chainrule.random import ShapeLike

Initialiser: TypeAlias = Callable[..., Array]


def fans(shape: ShapeLike) -> tuple[int, int]:
    """Inputs of one unit and readers of one input: (fan_in, fan_out).

    Args:
        shape: (out, in, *kernel).

    Raises:
        ShapeError: Fewer than two axes, or a size of 0.

    >>> fans((10, 784)), fans((8, 3, 5, 5))
    ((784, 10), (75, 200))
    """
    sizes = as_shape(shape)
    if len(sizes) < 2:
        raise ShapeError(
            "this initialiser needs to know the inputs and outputs of a layer",
            expected="a weight of shape (out, in, *kernel)",
            got=str(sizes),
            fix="for a bias use init.zeros, init.uniform or init.normal",
            where=str(here()),
        )
    if 0 in sizes:
        raise ShapeError(
            "a layer without inputs or outputs has nothing to draw",
            expected="sizes of at least 1",
            got=str(sizes),
            where=str(here()),
        )
    kernel = math.prod(sizes[2:])
    return sizes[1] * kernel, sizes[0] * kernel


def gain(nonlinearity: str, negative_slope: float = 0.01) -> float:
    """Factor by which weights must be larger, since the activation shrinks its inputs.

    Args:
        nonlinearity: ``"linear"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"`` or
            ``"selu"``.
        negative_slope: Slope of the leaky ReLU below zero.

    Raises:
        ArgumentError: No such name.

    >>> round(gain("relu"), 4)
    1.4142
    """
    known = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + negative_slope**2)),
        "selu": 0.75,
    }
    if nonlinearity not in known:
        raise ArgumentError(
            f"no gain is known for {nonlinearity!r}",
            expected=", ".join(known),
            got=repr(nonlinearity),
            where=str(here()),
        )
    return known[nonlinearity]


def _drawn_from(key: Array | None) -> Array:
    return random.layer_key("parameter") if key is None else key


def normal(
    shape: ShapeLike,
    key: Array | None = None,
    *,
    mean: float = 0.0,
    standard_deviation: float = 1.0,
    dtype: Any = dtypes.float32,
) -> Array:
    """Normal numbers, N(mean, σ²).

    Args:
        shape: Shape of the parameter.
        key: Random key; None takes the next of the ambient state.
        mean: Mean.
        standard_deviation: σ, at least 0.
        dtype: Floating type.
    """
    return random.normal(_drawn_from(key), shape, mean, standard_deviation, dtype)


def uniform(
    shape: ShapeLike,
    key: Array | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = dtypes.float32,
) -> Array:
    """Numbers spread evenly over [low, high).

    Args:
        shape: Shape of the parameter.
        key: Random key; None takes the next of the ambient state.
        low: Lower bound.
        high: Upper bound.
        dtype: Floating type.
    """
    return random.uniform(_drawn_from(key), shape, low, high, dtype)


def _scaled_normal(shape: ShapeLike, key: Array | None, variance: float, dtype: Any) -> Array:
    return normal(shape, key, standard_deviation=math.sqrt(variance), dtype=dtype)


def _scaled_uniform(shape: ShapeLike, key: Array | None, variance: float, dtype: Any) -> Array:
    bound = math.sqrt(3.0 * variance)  # U(−b, b) has variance b²/3
    return uniform(shape, key, low=-bound, high=bound, dtype=dtype)


def lecun_normal(
    shape: ShapeLike, key: Array | None = None, *, dtype: Any = dtypes.float32
) -> Array:
    """N(0, 1/fan_in): unit variance stays unit variance; for LeCun's tanh and SELU.

    Args:
        shape: (out, in, *kernel).
        key: Random key; None takes the next of the ambient state.
        dtype: Floating type.

    Reference: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 4.6.
    """
    return _scaled_normal(shape, key, 1.0 / fans(shape)[0], dtype)


def lecun_uniform(
    shape: ShapeLike, key: Array | None = None, *, dtype: Any = dtypes.float32
) -> Array:
    """Uniform with variance 1/fan_in; arguments as ``lecun_normal``."""
    return _scaled_uniform(shape, key, 1.0 / fans(shape)[0], dtype)


def glorot_normal(
    shape: ShapeLike, key: Array | None = None, *, gain: float = 1.0, dtype: Any = dtypes.float32
) -> Array:
    """N(0, gain²·2/(fan_in + fan_out)): the mean of both directions; for sigmoid and tanh.

    Args:
        shape: (out, in, *kernel).
        key: Random key; None takes the next of the ambient state.
        gain: From ``init.gain``.
        dtype: Floating type.

    Reference: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, equation 16.
    """
    return _scaled_normal(shape, key, gain**2 * 2.0 / sum(fans(shape)), dtype)


def glorot_uniform(
    shape: ShapeLike, key: Array | None = None, *, gain: float = 1.0, dtype: Any = dtypes.float32
) -> Array:
    """Uniform in ±gain·√(6/(fan_in + fan_out)); arguments as ``glorot_normal``."""
    return _scaled_uniform(shape, key, gain**2 * 2.0 / sum(fans(shape)), dtype)


def _he_variance(shape: ShapeLike, mode: str, nonlinearity: str, negative_slope: float) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(
            "he: there is no such mode",
            expected="'fan_in' or 'fan_out'",
            got=repr(mode),
            where=str(here()),
        )
    fan = fans(shape)[mode == "fan_out"]
    return gain(nonlinearity, negative_slope) ** 2 / fan


def he_normal(
    shape: ShapeLike,
    key: Array | None = None,
    *,
    mode: str = "fan_in",
    nonlinearity: str = "relu",
    negative_slope: float = 0.0,
    dtype: Any = dtypes.float32,
) -> Array:
    """N(0, gain²/fan): for ReLU, which halves the variance, 2/fan_in.

    Args:
        shape: (out, in, *kernel).
        key: Random key; None takes the next of the ambient state.
        mode: ``"fan_in"`` keeps the variance of the values, ``"fan_out"`` that of the gradients.
        nonlinearity: Name for ``init.gain``.
        negative_slope: Slope of a leaky ReLU, with ``nonlinearity="leaky_relu"``.
        dtype: Floating type.

    Reference: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015, section 2.2.
    """
    variance = _he_variance(shape, mode, nonlinearity, negative_slope)
    return _scaled_normal(shape, key, variance, dtype)


def he_uniform(
    shape: ShapeLike,
    key: Array | None = None,
    *,
    mode: str = "fan_in",
    nonlinearity: str = "relu",
    negative_slope: float = 0.0,
    dtype: Any = dtypes.float32,
) -> Array:
    """Uniform in ±gain·√(3/fan); arguments as ``he_normal``."""
    variance = _he_variance(shape, mode, nonlinearity, negative_slope)
    return _scaled_uniform(shape, key, variance, dtype)


def orthogonal(
    shape: ShapeLike, key: Array | None = None, *, gain: float = 1.0, dtype: Any = dtypes.float32
) -> Array:
    """A random matrix whose rows (or columns, if they are fewer) are orthonormal, times gain.

    Axes after the first count as one. The matrix is computed at once, in float64.

    Args:
        shape: At least two axes.
        key: Random key; None takes the next of the ambient state.
        gain: Length of the rows.
        dtype: Floating type.

    Reference: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", 2014.
    """
    sizes = as_shape(shape)
    fans(sizes)
    rows, columns = sizes[0], math.prod(sizes[1:])
    tall = (max(rows, columns), min(rows, columns))
    drawn = random.normal(_drawn_from(key), tall, dtype=dtypes.float64).numpy()
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # evenly spread over all such matrices
    matrix = q.T if rows < columns else q
    return ops.as_value((gain * matrix).reshape(sizes), dtypes.as_dtype(dtype))


def constant(shape: ShapeLike, value: float, *, dtype: Any = dtypes.float32) -> Array:
    """One number everywhere.

    Args:
        shape: Shape of the parameter.
        value: The number.
        dtype: Element type.
    """
    return ops.full(as_shape(shape), value, dtype=dtype)


def zeros(shape: ShapeLike, *, dtype: Any = dtypes.float32) -> Array:
    """Zeros, for biases: equal weights would stay equal for ever.

    Args:
        shape: Shape of the parameter.
        dtype: Element type.
    """
    return constant(shape, 0.0, dtype=dtype)


def ones(shape: ShapeLike, *, dtype: Any = dtypes.float32) -> Array:
    """Ones, for scales.

    Args:
        shape: Shape of the parameter.
        dtype: Element type.
    """
    return constant(shape, 1.0, dtype=dtype)


# the same under the names that PyTorch uses
xavier_normal = glorot_normal
xavier_uniform = glorot_uniform
kaiming_normal = he_normal
kaiming_uniform = he_uniform
