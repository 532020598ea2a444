"""The natural logarithm, of x and of 1 + x.

x = 2ᵉ·m with m from √½ to √2; ln x = e·ln 2 + ln m. Float: a minimax polynomial of f = m − 1.
Double: fdlibm's form (e_log.c, Sun Microsystems 1993) with s = f / (2 + f) and its polynomial.
"""

from __future__ import annotations

import math

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.exponential import LN2_HIGH, LN2_LOW
from chainrule.program.compiler.llvm.vector_math.parts import (
    at_least,
    bits,
    compare,
    fma,
    from_bits,
    polynomial,
    with_constant,
)

# (ln(1 + f) − f + f²/2) / f³
LOG_FLOAT = (
    0.3333333134651184,
    -0.2500081956386566,
    0.20001226663589478,
    -0.16623356938362122,
    0.14201758801937103,
    -0.13160182535648346,
    0.1276157647371292,
    -0.07634496688842773,
)
# fdlibm's Lg1 ... Lg7: (ln((1 + s) / (1 − s)) / s − 2) / s², of s²
LOG_DOUBLE = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_SMALLEST_NORMAL = {"float": 2.0**-126, "double": 2.0**-1022}
_SQRT_HALF_BITS = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}


def split(b: Builder, x: Value) -> tuple[Value, Value]:
    """e (as a float) and m of x = 2ᵉ·m, √½ ≤ m < √2; x positive, finite and normal."""
    element = element_of(x.type)
    whole = bits(b, x)
    above = with_constant(b, "sub", whole, _SQRT_HALF_BITS[element])
    if element == "float":
        exponent = b.convert("sitofp", with_constant(b, "ashr", above, 23), "float")
        kept = with_constant(b, "and", above, -(1 << 23))
        return exponent, from_bits(b, b.binary("sub", whole, kept))
    # few targets convert 64-bit integers: 2⁵² + n has n in its lowest bits
    biased = with_constant(b, "add", above, 1023 << 52)
    number = with_constant(b, "or", with_constant(b, "lshr", biased, 52), 0x433 << 52)
    exponent = with_constant(b, "fsub", from_bits(b, number), 2.0**52 + 1023)
    kept = with_constant(b, "and", above, -(1 << 52))
    return exponent, from_bits(b, b.binary("sub", whole, kept))


def log(b: Builder, x: Value) -> Value:
    """Natural logarithm: float and double within 1 ulp.

    −Inf at ±0 and at denormal numbers, which count as 0; NaN below.
    """
    exponent, mantissa = split(b, x)
    rest = with_constant(b, "fadd", mantissa, -1.0)
    combine = _log_float if element_of(x.type) == "float" else _log_double
    return with_special_values(b, x, combine(b, exponent, rest))


def _log_float(b: Builder, e: Value, f: Value) -> Value:
    square = b.mul(f, f)
    tail = b.mul(polynomial(b, f, LOG_FLOAT), b.mul(f, square))
    tail = fma(b, e, LN2_LOW["float"], tail)
    tail = fma(b, square, -0.5, tail)
    return fma(b, e, LN2_HIGH["float"], b.add(f, tail))


def _log_double(b: Builder, e: Value, f: Value) -> Value:
    s = b.div(f, with_constant(b, "fadd", f, 2.0))
    square = b.mul(s, s)
    half = with_constant(b, "fmul", b.mul(f, f), 0.5)
    series = b.mul(square, polynomial(b, square, LOG_DOUBLE))
    tail = b.mul(s, b.add(half, series))
    tail = fma(b, e, LN2_LOW["double"], tail)
    return fma(b, e, LN2_HIGH["double"], b.sub(f, b.sub(half, tail)))


def with_special_values(b: Builder, x: Value, result: Value) -> Value:
    """The logarithm's values at Inf, NaN, 0 and below, put into ``result``."""
    minimum = _SMALLEST_NORMAL[element_of(x.type)]
    result = b.select(compare(b, "olt", x, math.inf), result, x)
    infinite = b.constant(x.type, -math.inf)
    result = b.select(compare(b, "olt", x, minimum), infinite, result)
    return b.select(compare(b, "olt", x, 0.0), b.constant(x.type, math.nan), result)


def log1p(b: Builder, x: Value) -> Value:
    """ln(1 + x), accurate near 0 too: float and double within 1.5 ulp."""
    total = with_constant(b, "fadd", x, 1.0)
    # what the sum lost; it is exact as long as it matters
    lost = b.sub(x, with_constant(b, "fadd", total, -1.0))
    result = log_of_sum(b, total, lost)
    return b.select(compare(b, "oeq", x, 0.0), x, result)


def log_of_sum(b: Builder, total: Value, lost: Value, doublings: Value | None = None) -> Value:
    """ln(total + lost), where ``lost`` is below half a unit of ``total``, or total is near 1.

    Args:
        b: Where to write.
        total: The leading part; its special values count.
        lost: The small part.
        doublings: Added to the exponent (a float): as many factors of 2.
    """
    exponent, mantissa = split(b, total)
    inverse = _inverse_power(b, total, mantissa)
    rest = fma(b, lost, inverse, with_constant(b, "fadd", mantissa, -1.0))
    exponent = exponent if doublings is None else b.add(exponent, doublings)
    combine = _log_float if element_of(total.type) == "float" else _log_double
    return with_special_values(b, total, combine(b, exponent, rest))


def _inverse_power(b: Builder, x: Value, mantissa: Value) -> Value:
    """2⁻ᵉ of x = 2ᵉ·mantissa; 0 where it would be too small for a normal number."""
    element = element_of(x.type)
    one = (127 << 23) if element == "float" else (1023 << 52)
    power = b.sub(bits(b, x), bits(b, mantissa))
    return at_least(b, from_bits(b, b.sub(b.constant(power.type, one), power)), 0.0)
