"""sinh, cosh, tanh and their inverses."""

from __future__ import annotations

import math

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.exponential import EXPM1, reduce
from chainrule.program.compiler.llvm.vector_math.logarithm import log1p, log_of_sum
from chainrule.program.compiler.llvm.vector_math.parts import (
    absolute,
    at_most,
    compare,
    fma,
    polynomial,
    power_of_two,
    with_constant,
    with_sign,
)

# (sinh(x) / x − 1) / x², of x², for |x| ≤ 1
_SINH = {
    "float": (
        0.1666666716337204,
        0.008333349600434303,
        0.0001983615948120132,
        2.8169511097075883e-06,
    ),
    "double": (
        0.16666666666666669,
        0.008333333333333148,
        0.00019841269841431873,
        2.7557319157071963e-06,
        2.5052123136710103e-08,
        1.6057259769697082e-10,
        7.758748772413957e-13,
    ),
}
# (tanh(x) / x − 1) / x², of x², for |x| ≤ 0.55
TANH = {
    "float": (
        -0.3333294689655304,
        0.13320724666118622,
        -0.05267181247472763,
        0.016437578946352005,
    ),
    "double": (
        -0.333333333333333,
        0.13333333333326622,
        -0.0539682539637606,
        0.02186948838585578,
        -0.008863232601442039,
        0.0035920920304543203,
        -0.001455542845922586,
        0.00058844448710106,
        -0.0002333815680017951,
        8.331645188509159e-05,
        -1.9494690585496797e-05,
    ),
}
# above, sinh and cosh are Inf
_OVERFLOW = {"float": 89.9, "double": 710.8}
# above, x² + 1 is x² to the last bit that matters
_LARGE = {"float": 2.0**13, "double": 2.0**28}
_TANH_IS_ONE = {"float": 9.1, "double": 19.1}


def tanh(b: Builder, x: Value) -> Value:
    """Hyperbolic tangent: float and double within 1.7 ulp.

    A polynomial below 0.55, above it 1 − 2 / (exp(2·|x|) + 1), where the subtraction takes at most
    half of its number away.
    """
    element = element_of(x.type)
    size = absolute(b, x)
    limited = at_most(b, size, _TANH_IS_ONE[element])
    shifted, r = reduce(b, limited, factor=2.0)
    doubled = [c * 2.0 ** (i + 2) for i, c in enumerate(EXPM1[element])]
    power = polynomial(b, r, (1.0, 2.0, *doubled))
    denominator = fma(b, power, power_of_two(b, shifted), 1.0)
    large = b.sub(b.constant(x.type, 1.0), b.div(b.constant(x.type, 2.0), denominator))
    square = b.mul(limited, limited)
    small = fma(b, b.mul(square, limited), polynomial(b, square, TANH[element]), limited)
    result = b.select(compare(b, "olt", size, 0.55), small, large)
    return with_sign(b, result, x, size)


def sinh(b: Builder, x: Value) -> Value:
    """Hyperbolic sine: float and double within 2 ulp."""
    size = absolute(b, x)
    half = _half_of_exp(b, size)
    large = b.sub(half, b.div(b.constant(x.type, 0.25), half))
    square = b.mul(size, size)
    small = fma(b, b.mul(square, size), polynomial(b, square, _SINH[element_of(x.type)]), size)
    return with_sign(b, b.select(compare(b, "olt", size, 1.0), small, large), x, size)


def cosh(b: Builder, x: Value) -> Value:
    """Hyperbolic cosine: float and double within 2 ulp."""
    half = _half_of_exp(b, absolute(b, x))
    return b.add(half, b.div(b.constant(x.type, 0.25), half))


def _half_of_exp(b: Builder, x: Value) -> Value:
    """½·exp(x) of x ≥ 0, Inf only where the result is."""
    element = element_of(x.type)
    shifted, r = reduce(b, at_most(b, x, _OVERFLOW[element]), halvings=2)
    power = polynomial(b, r, (2.0, 2.0, *(2.0 * c for c in EXPM1[element])))
    return b.mul(power, power_of_two(b, shifted))


def asinh(b: Builder, x: Value) -> Value:
    """Inverse hyperbolic sine: float and double within 2 ulp.

    ln(x + √(x² + 1)) = ln(1 + x + x² / (1 + √(x² + 1))).
    """
    size = absolute(b, x)
    square = b.mul(size, size)
    root = b.sqrt(with_constant(b, "fadd", square, 1.0))
    excess = b.add(size, b.div(square, with_constant(b, "fadd", root, 1.0)))
    result = _log_of_excess(b, size, excess)
    return with_sign(b, b.select(compare(b, "oeq", x, 0.0), size, result), x, size)


def acosh(b: Builder, x: Value) -> Value:
    """Inverse hyperbolic cosine, NaN below 1: float and double within 3 ulp.

    With t = x − 1: ln(1 + t + √(2·t + t²)).
    """
    t = with_constant(b, "fadd", x, -1.0)
    root = b.sqrt(b.mul(t, with_constant(b, "fadd", t, 2.0)))
    result = _log_of_excess(b, x, b.add(t, root))
    return b.select(compare(b, "olt", x, 1.0), b.constant(x.type, math.nan), result)


def _log_of_excess(b: Builder, x: Value, excess: Value) -> Value:
    """ln(1 + excess), or ln(2·x) where x is large."""
    large = compare(b, "ogt", x, _LARGE[element_of(x.type)])
    nothing, one = b.constant(x.type, 0.0), b.constant(x.type, 1.0)
    total = with_constant(b, "fadd", excess, 1.0)
    lost = b.sub(excess, with_constant(b, "fadd", total, -1.0))
    total = b.select(large, x, total)
    lost = b.select(large, nothing, lost)
    return log_of_sum(b, total, lost, b.select(large, one, nothing))


def atanh(b: Builder, x: Value) -> Value:
    """Inverse hyperbolic tangent, ±Inf at ±1, NaN beyond: float and double within 2.5 ulp."""
    size = absolute(b, x)
    rest = b.sub(b.constant(x.type, 1.0), size)
    half = with_constant(b, "fmul", log1p(b, b.div(b.add(size, size), rest)), 0.5)
    return with_sign(b, half, x, size)
