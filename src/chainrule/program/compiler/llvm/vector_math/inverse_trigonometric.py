"""asin, acos, atan and atan2: ranges are halved by identities, then an odd polynomial."""

from __future__ import annotations

import math

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    absolute,
    bits,
    compare,
    fma,
    polynomial,
    with_constant,
    with_sign,
)

# (asin(x) / x − 1) / x², of x², for |x| ≤ ½
_ASIN = {
    "float": (
        0.16666752099990845,
        0.07495297491550446,
        0.04547037556767464,
        0.024179521948099136,
        0.042166296392679214,
    ),
    "double": (
        0.1666666666666676,
        0.07499999999970797,
        0.04464285717461376,
        0.030381942707708793,
        0.02237221498937774,
        0.017351611988295945,
        0.01398082079518808,
        0.011398910543787118,
        0.01078026085493269,
        0.003706381775365309,
        0.021707506627014008,
        -0.020999140393540467,
        0.03262866939939208,
    ),
}
# (atan(x) / x − 1) / x², of x², for |x| ≤ √2 − 1
_ATAN = {
    "float": (
        -0.33333316445350647,
        0.19998471438884735,
        -0.142435222864151,
        0.10593727231025696,
        -0.06077990680932999,
    ),
    "double": (
        -0.333333333333332,
        0.19999999999953205,
        -0.14285714280162087,
        0.11111110781921639,
        -0.09090897718294254,
        0.07692059589703253,
        -0.06663097710595746,
        0.058478481307104146,
        -0.05039139051882769,
        0.038060806812594154,
        -0.01790355088955307,
    ),
}
# π minus its value in the type; halves and quarters of π leave halves and quarters of it
_PI_LOW = {"float": -8.742278000372485e-08, "double": 1.2246467991473532e-16}
_TAN_OF_EIGHTH = math.sqrt(2.0) - 1.0


def _pi(b: Builder, type_: str, factor: float) -> tuple[Value, Value]:
    """factor·π in two parts; a power of two."""
    low = _PI_LOW[element_of(type_)]
    return b.constant(type_, factor * math.pi), b.constant(type_, factor * low)


def _asin_parts(b: Builder, size: Value) -> tuple[Value, Value]:
    """Whether ``size`` is above ½, and asin of ``size`` or, above, of √((1 − size) / 2).

    asin(x) = π/2 − 2·asin(√((1 − x) / 2)).
    """
    above = compare(b, "ogt", size, 0.5)
    half_rest = fma(b, size, -0.5, 0.5)
    square = b.select(above, half_rest, b.mul(size, size))
    argument = b.select(above, b.sqrt(half_rest), size)
    series = polynomial(b, square, _ASIN[element_of(size.type)])
    return above, fma(b, b.mul(square, argument), series, argument)


def asin(b: Builder, x: Value) -> Value:
    """Inverse sine, NaN beyond ±1: float and double within 2.5 ulp."""
    size = absolute(b, x)
    above, angle = _asin_parts(b, size)
    high, low = _pi(b, x.type, 0.5)
    large = b.sub(high, b.sub(b.add(angle, angle), low))
    return with_sign(b, b.select(above, large, angle), x, size)


def acos(b: Builder, x: Value) -> Value:
    """Inverse cosine, NaN beyond ±1: float and double within 1.5 ulp."""
    size = absolute(b, x)
    above, angle = _asin_parts(b, size)
    negative = compare(b, "olt", x, 0.0)
    twice = b.add(angle, angle)
    high, low = _pi(b, x.type, 1.0)
    large = b.select(negative, b.sub(high, b.sub(twice, low)), twice)
    half_high, half_low = _pi(b, x.type, 0.5)
    signed = with_sign(b, angle, x, size)
    small = b.sub(half_high, b.sub(signed, half_low))
    return b.select(above, large, small)


def atan(b: Builder, x: Value) -> Value:
    """Inverse tangent: float and double within 2.5 ulp."""
    size = absolute(b, x)
    return with_sign(b, _atan_of_ratio(b, size, b.constant(x.type, 1.0)), x, size)


def atan2(b: Builder, y: Value, x: Value) -> Value:
    """Angle of the point (x, y), in [−π, π]: float and double within 2.5 ulp."""
    height, width = absolute(b, y), absolute(b, x)
    # both 0 give an angle of 0, both Inf that of a diagonal
    zero, one = b.constant(x.type, 0.0), b.constant(x.type, 1.0)
    same = b.compare("oeq", height, width)
    nothing = compare(b, "oeq", height, 0.0)
    height_used = b.select(same, b.select(nothing, zero, one), height)
    width_used = b.select(same, one, width)
    angle = _atan_of_ratio(b, height_used, width_used)
    high, low = _pi(b, x.type, 1.0)
    left = compare(b, "slt", bits(b, x), 0)
    angle = b.select(left, b.sub(high, b.sub(angle, low)), angle)
    ordered = b.compare("ord", x, y)
    angle = b.select(ordered, angle, b.constant(x.type, math.nan))
    return with_sign(b, angle, y, height)


def _atan_of_ratio(b: Builder, numerator: Value, denominator: Value) -> Value:
    """atan(numerator / denominator) of two numbers that are not negative nor both 0 or Inf.

    atan(1/t) = π/2 − atan(t); atan(t) = π/4 + atan((t − 1) / (t + 1)).
    """
    type_ = numerator.type
    steep = b.compare("ogt", numerator, denominator)
    small = b.select(steep, denominator, numerator)
    large = b.select(steep, numerator, denominator)
    # so that the sum cannot overflow
    huge = compare(b, "ogt", large, 2.0**100)
    scale = b.select(huge, b.constant(type_, 2.0**-24), b.constant(type_, 1.0))
    small, large = b.mul(small, scale), b.mul(large, scale)
    turned = b.compare("ogt", small, with_constant(b, "fmul", large, _TAN_OF_EIGHTH))
    ratio = b.div(
        b.select(turned, b.sub(small, large), small),
        b.select(turned, b.add(small, large), large),
    )
    square = b.mul(ratio, ratio)
    series = polynomial(b, square, _ATAN[element_of(type_)])
    angle = fma(b, b.mul(square, ratio), series, ratio)
    quarter_high, quarter_low = _pi(b, type_, 0.25)
    zero = b.zero(type_)
    high = b.select(turned, quarter_high, zero)
    low = b.select(turned, quarter_low, zero)
    half_high, half_low = _pi(b, type_, 0.5)
    # steep: (π/2 − high) − angle
    angle = b.select(steep, b.neg(angle), angle)
    high = b.select(steep, b.sub(half_high, high), high)
    low = b.select(steep, b.sub(half_low, low), low)
    return b.add(high, b.add(angle, low))
