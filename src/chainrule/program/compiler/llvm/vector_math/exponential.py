"""exp, expm1 and the logistic function.

x = n·ln 2 + r; 2ⁿ is made in the exponent bits and exp(r) by a minimax polynomial. All polynomials
of this package come from the Remez exchange algorithm in 200-bit arithmetic, weighted for the
relative error of the result; ln 2 is split in two parts after Cody and Waite, "Software Manual for
the Elementary Functions" (1980), so that n times its leading part is exact.
"""

from __future__ import annotations

import math

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    EXPONENT_BIAS,
    ROUNDING,
    absolute,
    at_least,
    at_most,
    compare,
    fma,
    polynomial,
    power_of_two,
    with_constant,
)

LOG2_E = math.log2(math.e)
LN2_HIGH = {"float": 0.693145751953125, "double": 0.693147180369123816490}
LN2_LOW = {"float": 1.4286068203094172e-06, "double": 1.90821492927058770002e-10}

# exp(r) on [0, ln 2]
EXP = {
    "float": (
        1.0,
        0.9999998211860657,
        0.500005841255188,
        0.16661013662815094,
        0.04191499203443527,
        0.007792272605001926,
        0.0019487699028104544,
    ),
    "double": (
        1.0,
        1.0000000000000009,
        0.4999999999999221,
        0.1666666666690108,
        0.04166666663167382,
        0.008333333635287227,
        0.001388887258340863,
        0.00019841843834310068,
        2.4788226112970538e-05,
        2.7760724942763694e-06,
        2.5622298256091323e-07,
        3.529674385996508e-08,
    ),
}
# the smallest and largest x whose exponential is a normal number, a little widened
_EXP_RANGE = {"float": (-87.5, 89.0), "double": (-708.5, 710.0)}

# (exp(r) − 1 − r) / r² on ±½ ln 2
EXPM1 = {
    "float": (
        0.4999999403953552,
        0.1666652113199234,
        0.04166838899254799,
        0.008368710055947304,
        0.0013814611593261361,
    ),
    "double": (
        0.5000000000000011,
        0.16666666666666413,
        0.041666666666530267,
        0.008333333333494326,
        0.0013888888943597692,
        0.00019841269506792113,
        2.480149313619358e-05,
        2.7557586256464425e-06,
        2.763023391855629e-07,
        2.5000075090319136e-08,
    ),
}
# the same, for the smallest relative error of exp(r) − 1
EXPM1_RELATIVE = {
    "float": (
        0.4999999701976776,
        0.1666654348373413,
        0.04166720062494278,
        0.00836651399731636,
        0.0013882520142942667,
    ),
    "double": (
        0.5,
        0.16666666666666677,
        0.04166666666666651,
        0.0083333333333217,
        0.0013888888888962312,
        0.00019841269885939545,
        2.4801587172619295e-05,
        2.7557244403691216e-06,
        2.7557402605954744e-07,
        2.510896765675067e-08,
        2.087533143979458e-09,
    ),
}
_SIGMOID_RANGE = {"float": (-88.37, 40.0), "double": (-709.4, 40.0)}
_EXPM1_RANGE = {"float": (-25.0, 89.0), "double": (-45.0, 710.0)}


def reduce(
    b: Builder, x: Value, factor: float = 1.0, offset: float = 0.0, halvings: int = 0
) -> tuple[Value, Value]:
    """n and r of factor·x = n·ln 2 + r.

    Args:
        b: Where to write.
        x: Within the range that ``power_of_two`` allows for n.
        factor: 1, −1 or a power of two.
        offset: Added to the quotient before it is rounded; −½ makes r positive.
        halvings: How often the power of two is halved, so that it does not overflow.

    Returns:
        What ``power_of_two`` takes to give 2^(n − halvings), and r / factor.
    """
    element = element_of(x.type)
    shift = ROUNDING[element] + EXPONENT_BIAS[element] - halvings
    if offset:
        quotient = fma(b, x, factor * LOG2_E, offset)
        shifted = with_constant(b, "fadd", quotient, shift)
    else:
        shifted = fma(b, x, factor * LOG2_E, shift)
    n = with_constant(b, "fsub", shifted, shift)
    rest = fma(b, n, -LN2_HIGH[element] / factor, x)
    return shifted, fma(b, n, -LN2_LOW[element] / factor, rest)


def exp(b: Builder, x: Value) -> Value:
    """e to the power x: float and double within 1.7 ulp.

    Results below the normal numbers are 0.
    """
    element = element_of(x.type)
    low, high = _EXP_RANGE[element]
    shifted, r = reduce(b, at_least(b, at_most(b, x, high), low), offset=-0.5)
    return b.mul(_exp_of_rest(b, r), power_of_two(b, shifted))


def _exp_of_rest(b: Builder, r: Value) -> Value:
    coefficients = EXP[element_of(r.type)]
    if b.module.target.has_fma:
        return polynomial(b, r, coefficients)
    # with a rounding a product, the two leading terms are better added last
    tail = polynomial(b, r, (coefficients[1] - 1.0, *coefficients[2:]))
    return with_constant(b, "fadd", b.add(b.mul(r, tail), r), 1.0)


def sigmoid(b: Builder, x: Value) -> Value:
    """1 / (1 + exp(−x)): float and double within 2 ulp.

    Left of the range a denormal number of the size of the exact result, which flushes to 0.
    """
    element = element_of(x.type)
    low, high = _SIGMOID_RANGE[element]
    # the rest comes out as −r: the polynomial of exp(−·) has every other sign turned
    shifted, r = reduce(b, at_least(b, at_most(b, x, high), low), factor=-1.0)
    signed = [-1.0, *(c if i % 2 == 0 else -c for i, c in enumerate(EXPM1[element]))]
    scale = power_of_two(b, shifted)
    grown = b.mul(r, polynomial(b, r, signed))
    denominator = b.add(scale, fma(b, scale, grown, 1.0))
    return b.div(b.constant(x.type, 1.0), denominator)


def expm1(b: Builder, x: Value) -> Value:
    """exp(x) − 1, accurate near 0 too: float within 1.7 ulp, double within 2."""
    element = element_of(x.type)
    low, high = _EXPM1_RANGE[element]
    limited = at_least(b, at_most(b, x, high), low)
    shifted, r = reduce(b, limited, halvings=1)
    half_scale = power_of_two(b, shifted)
    grown = fma(b, b.mul(r, r), polynomial(b, r, EXPM1_RELATIVE[element]), r)
    half = b.fma(half_scale, grown, with_constant(b, "fadd", half_scale, -0.5))
    # half of the smallest numbers would be denormal, and −0 would lose its sign
    tiny = compare(b, "olt", absolute(b, x), 2.0**-60)
    return b.select(tiny, x, b.add(half, half))
