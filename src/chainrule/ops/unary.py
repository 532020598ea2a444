"""Elementwise ops of one input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.elementwise import elementwise, in_float32
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.operands import as_value, promote_operands, scalar
from chainrule.ops.record import Case, Op, bind, register

_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # exp of a negative number only, so that nothing overflows
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _erf(x: np.ndarray) -> np.ndarray:
    exact = np.frompyfunc(math.erf, 1, 1)
    return np.asarray(exact(x.astype(np.float64)), dtype=np.float64).astype(x.dtype)


def _invert(x: np.ndarray) -> np.ndarray:
    return np.logical_not(x) if x.dtype == np.bool_ else np.invert(x)


NEGATIVE = elementwise(
    "negative", np.negative, lambda g, y, x: (-g,), kind="numeric",
    formula="−{x}", derivative=("−1",),
)  # fmt: skip
ABS = elementwise(
    "abs", np.abs, lambda g, y, x: (g * sign(x),), kind="numeric",
    formula="|{x}|", derivative=("sign({x})",), kinks=(0.0,), at_kink="0 at 0",
)  # fmt: skip
SIGN = elementwise(
    "sign", np.sign, None, kind="numeric", formula="sign({x})", kinks=(0.0,),
)  # fmt: skip
EXP = elementwise(
    "exp", np.exp, lambda g, y, x: (g * y,),
    formula="exp({x})", derivative=("{out}",),
)  # fmt: skip
EXPM1 = elementwise(
    "expm1", np.expm1, lambda g, y, x: (g * (y + 1),),
    formula="exp({x}) − 1", derivative=("{out} + 1",),
)  # fmt: skip
LOG = elementwise(
    "log", np.log, lambda g, y, x: (g / x,), domain=(0.1, 4.0),
    formula="ln({x})", derivative=("1 / {x}",),
)  # fmt: skip
LOG1P = elementwise(
    "log1p", np.log1p, lambda g, y, x: (g / (x + 1),), domain=(-0.9, 4.0),
    formula="ln(1 + {x})", derivative=("1 / (1 + {x})",),
)  # fmt: skip
SQRT = elementwise(
    "sqrt", np.sqrt, lambda g, y, x: (g / (y * 2),), domain=(0.1, 4.0),
    formula="√{x}", derivative=("1 / (2·{out})",),
)  # fmt: skip
SIN = elementwise(
    "sin", np.sin, lambda g, y, x: (g * cos(x),), formula="sin({x})", derivative=("cos({x})",),
)  # fmt: skip
COS = elementwise(
    "cos", np.cos, lambda g, y, x: (-(g * sin(x)),), formula="cos({x})", derivative=("−sin({x})",),
)  # fmt: skip
TAN = elementwise(
    "tan", in_float32(np.tan), lambda g, y, x: (g * (y * y + 1),), domain=(-1.2, 1.2),
    formula="tan({x})", derivative=("1 + {out}²",),
)  # fmt: skip
ASIN = elementwise(
    "asin", in_float32(np.arcsin), lambda g, y, x: (g / sqrt(1 - x * x),), domain=(-0.9, 0.9),
    formula="asin({x})", derivative=("1 / √(1 − {x}²)",),
)  # fmt: skip
ACOS = elementwise(
    "acos", in_float32(np.arccos), lambda g, y, x: (-(g / sqrt(1 - x * x)),), domain=(-0.9, 0.9),
    formula="acos({x})", derivative=("−1 / √(1 − {x}²)",),
)  # fmt: skip
ATAN = elementwise(
    "atan", in_float32(np.arctan), lambda g, y, x: (g / (x * x + 1),),
    formula="atan({x})", derivative=("1 / (1 + {x}²)",),
)  # fmt: skip
SINH = elementwise(
    "sinh", in_float32(np.sinh), lambda g, y, x: (g * cosh(x),),
    formula="sinh({x})", derivative=("cosh({x})",),
)  # fmt: skip
COSH = elementwise(
    "cosh", in_float32(np.cosh), lambda g, y, x: (g * sinh(x),),
    formula="cosh({x})", derivative=("sinh({x})",),
)  # fmt: skip
ASINH = elementwise(
    "asinh", in_float32(np.arcsinh), lambda g, y, x: (g / sqrt(x * x + 1),),
    formula="asinh({x})", derivative=("1 / √({x}² + 1)",),
)  # fmt: skip
ACOSH = elementwise(
    "acosh", in_float32(np.arccosh), lambda g, y, x: (g / sqrt(x * x - 1),), domain=(1.2, 4.0),
    formula="acosh({x})", derivative=("1 / √({x}² − 1)",),
)  # fmt: skip
ATANH = elementwise(
    "atanh", in_float32(np.arctanh), lambda g, y, x: (g / (1 - x * x),), domain=(-0.9, 0.9),
    formula="atanh({x})", derivative=("1 / (1 − {x}²)",),
)  # fmt: skip
TANH = elementwise(
    "tanh", np.tanh, lambda g, y, x: (g * (1 - y * y),),
    formula="tanh({x})", derivative=("1 − {out}²",),
)  # fmt: skip
SIGMOID = elementwise(
    "sigmoid", in_float32(_sigmoid), lambda g, y, x: (g * (y * (1 - y)),),
    formula="σ({x})", derivative=("{out}·(1 − {out})",),
)  # fmt: skip
ERF = elementwise(
    "erf", _erf, lambda g, y, x: (g * (exp(-(x * x)) * _TWO_OVER_SQRT_PI),),
    formula="erf({x})", derivative=("2/√π · exp(−{x}²)",),
)  # fmt: skip
RELU = elementwise(
    "relu", lambda x: np.maximum(x, x.dtype.type(0)),
    lambda g, y, x: (bind("where", x > 0, g, zeros_like(g)),), kind="numeric",
    formula="max(0, {x})", derivative=("1 if {x} > 0 else 0",), kinks=(0.0,), at_kink="0 at 0",
)  # fmt: skip
FLOOR = elementwise("floor", np.floor, None, kind="numeric", formula="⌊{x}⌋")
CEIL = elementwise("ceil", np.ceil, None, kind="numeric", formula="⌈{x}⌉")
ROUND = elementwise(
    "round", np.rint, None, kind="float", formula="round({x})", at_kink="halves to even"
)
TRUNC = elementwise("trunc", np.trunc, None, kind="numeric", formula="trunc({x})")
INVERT = elementwise("bitwise_invert", _invert, None, kind="bitwise", formula="not {x}")
ISFINITE = elementwise(
    "isfinite", np.isfinite, None, kind="numeric", result=dtypes.bool_, formula="{x} is finite"
)
ISNAN = elementwise(
    "isnan", np.isnan, None, kind="numeric", result=dtypes.bool_, formula="{x} is NaN"
)
IDENTITY = elementwise(
    "identity", lambda x: x, lambda g, y, x: (g,), kind="any", formula="{x}", derivative=("1",)
)
BARRIER = elementwise(
    "barrier", lambda x: x, lambda g, y, x: (bind("barrier", g),), kind="any",
    formula="{x}", derivative=("1",),
)  # fmt: skip
STOP_GRADIENT = elementwise(
    "stop_gradient", lambda x: x, None, kind="any", formula="{x} (held constant)"
)


def zeros_like(x: Value) -> Value:
    """Zeros of the shape and dtype of ``x``: a broadcast scalar."""
    return bind("broadcast_to", scalar(0, x.dtype), shape=x.shape)


def _cast_evaluate(x: np.ndarray, *, dtype: Dtype) -> np.ndarray:
    if dtypes.is_floating(x.dtype) and dtypes.is_integer(dtype):
        # saturate: NumPy leaves values out of range, and NaN, undefined
        limits = np.iinfo(dtype)
        wide = x.astype(np.float64)
        low, high = float(limits.min), float(limits.max)
        result = np.clip(np.nan_to_num(wide, nan=0.0, posinf=high, neginf=low), low, high)
        below = np.nextafter(high, 0) if float(limits.max) > limits.max else high
        return np.where(result >= high, limits.max, np.minimum(result, below).astype(dtype)).astype(
            dtype
        )
    return x.astype(dtype)


def _cast_vjp(g: Value, y: Value, x: Value, *, dtype: Dtype) -> tuple[Value | None]:
    return (g if g.dtype == x.dtype else bind("cast", g, dtype=x.dtype),)


CAST = register(
    Op(
        name="cast",
        family="elementwise",
        arity=1,
        infer=lambda x, *, dtype: (x.shape, dtype),
        evaluate=_cast_evaluate,
        vjp=_cast_vjp,
        batch=lambda inputs, batched, *, dtype: bind("cast", inputs[0], dtype=dtype),
        formula="{x} as {dtype}",
        derivative=("1",),
        cases=(
            Case(shapes=((3, 4),), attributes={"dtype": dtypes.float64}),
            Case(shapes=((3,),), attributes={"dtype": dtypes.float32}),
        ),
    )
)


def _unary(op: Op, x: Operand, floating: bool = True) -> Value:
    return bind(op, promote_operands(x, floating=floating)[0])


def negative(x: Operand, /) -> Value:
    """−x, element by element."""
    return _unary(NEGATIVE, x, floating=False)


def positive(x: Operand, /) -> Value:
    """x itself."""
    return as_value(x)


def abs(x: Operand, /) -> Value:
    """|x|; the derivative at 0 is 0."""
    return _unary(ABS, x, floating=False)


def sign(x: Operand, /) -> Value:
    """−1, 0 or 1 by the sign of x; no derivative."""
    return _unary(SIGN, x, floating=False)


def exp(x: Operand, /) -> Value:
    """e to the power x."""
    return _unary(EXP, x)


def expm1(x: Operand, /) -> Value:
    """exp(x) − 1, accurate near 0."""
    return _unary(EXPM1, x)


def log(x: Operand, /) -> Value:
    """Natural logarithm; −inf at 0, NaN below."""
    return _unary(LOG, x)


def log1p(x: Operand, /) -> Value:
    """ln(1 + x), accurate near 0."""
    return _unary(LOG1P, x)


def log2(x: Operand, /) -> Value:
    """Logarithm to base 2."""
    return log(x) * (1.0 / math.log(2.0))


def log10(x: Operand, /) -> Value:
    """Logarithm to base 10."""
    return log(x) * (1.0 / math.log(10.0))


def sqrt(x: Operand, /) -> Value:
    """Square root; NaN below 0."""
    return _unary(SQRT, x)


def square(x: Operand, /) -> Value:
    """The product of x with itself, element by element."""
    value = as_value(x)
    return value * value


def reciprocal(x: Operand, /) -> Value:
    """1 / x."""
    return 1.0 / as_value(x)


def sin(x: Operand, /) -> Value:
    """Sine; x in radians."""
    return _unary(SIN, x)


def cos(x: Operand, /) -> Value:
    """Cosine; x in radians."""
    return _unary(COS, x)


def tan(x: Operand, /) -> Value:
    """Tangent; x in radians."""
    return _unary(TAN, x)


def asin(x: Operand, /) -> Value:
    """Inverse sine, in radians; x in [−1, 1]."""
    return _unary(ASIN, x)


def acos(x: Operand, /) -> Value:
    """Inverse cosine, in radians; x in [−1, 1]."""
    return _unary(ACOS, x)


def atan(x: Operand, /) -> Value:
    """Inverse tangent, in radians."""
    return _unary(ATAN, x)


def sinh(x: Operand, /) -> Value:
    """Hyperbolic sine."""
    return _unary(SINH, x)


def cosh(x: Operand, /) -> Value:
    """Hyperbolic cosine."""
    return _unary(COSH, x)


def asinh(x: Operand, /) -> Value:
    """Inverse hyperbolic sine."""
    return _unary(ASINH, x)


def acosh(x: Operand, /) -> Value:
    """Inverse hyperbolic cosine; x ≥ 1."""
    return _unary(ACOSH, x)


def atanh(x: Operand, /) -> Value:
    """Inverse hyperbolic tangent; x in [−1, 1]."""
    return _unary(ATANH, x)


def tanh(x: Operand, /) -> Value:
    """Hyperbolic tangent."""
    return _unary(TANH, x)


def sigmoid(x: Operand, /) -> Value:
    """The logistic function 1 / (1 + exp(−x)); does not overflow."""
    return _unary(SIGMOID, x)


def erf(x: Operand, /) -> Value:
    """The error function 2/√π ∫₀ˣ exp(−t²) dt."""
    return _unary(ERF, x)


def relu(x: Operand, /) -> Value:
    """max(0, x); the derivative at 0 is 0."""
    return _unary(RELU, x, floating=False)


def floor(x: Operand, /) -> Value:
    """Largest integer not above x."""
    return _unary(FLOOR, x, floating=False)


def ceil(x: Operand, /) -> Value:
    """Smallest integer not below x."""
    return _unary(CEIL, x, floating=False)


def round(x: Operand, /) -> Value:
    """Nearest integer, halves to even; integers pass."""
    value = as_value(x)
    return value if dtypes.is_integer(value.dtype) else bind(ROUND, value)


def trunc(x: Operand, /) -> Value:
    """Round towards zero."""
    return _unary(TRUNC, x, floating=False)


def bitwise_invert(x: Operand, /) -> Value:
    """All bits flipped; logical not for bool."""
    return _unary(INVERT, x, floating=False)


def logical_not(x: Operand, /) -> Value:
    """True where x is false."""
    return bitwise_invert(astype(x, dtypes.bool_))


def isfinite(x: Operand, /) -> Value:
    """True where x is neither NaN nor infinite."""
    return _unary(ISFINITE, x, floating=False)


def isnan(x: Operand, /) -> Value:
    """True where x is NaN."""
    return _unary(ISNAN, x, floating=False)


def isinf(x: Operand, /) -> Value:
    """True where x is infinite."""
    value = as_value(x)
    return bitwise_invert(isfinite(value) | isnan(value))


def signbit(x: Operand, /) -> Value:
    """True where x is below zero or −0.0 (whose reciprocal is −∞)."""
    value = as_value(x)
    if not dtypes.is_floating(value.dtype):
        return value < 0
    return (value < 0) | ((value == 0) & (1 / value < 0))


def identity(x: Operand, /) -> Value:
    """x itself, as a node of its own."""
    return bind(IDENTITY, as_value(x))


def barrier(x: Operand, /) -> Value:
    """x itself, as a node that no optimisation merges or moves."""
    return bind(BARRIER, as_value(x))


def stop_gradient(x: Operand, /) -> Value:
    """x itself, held constant by every derivative."""
    return bind(STOP_GRADIENT, as_value(x))


def astype(x: Operand, dtype: Any, /) -> Value:
    """Cast to ``dtype``; float → integer truncates and saturates, NaN becomes 0."""
    target = dtypes.as_dtype(dtype)
    value = as_value(x)
    return value if value.dtype == target and not value.weak else bind(CAST, value, dtype=target)
