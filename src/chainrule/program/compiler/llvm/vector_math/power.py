"""x to the power y = exp(y·ln x), with the logarithm in more digits than the result has.

Float goes through double. Double carries the logarithm as an unevaluated sum of two (T. Dekker,
"A floating-point technique for extending the available precision", 1971): an error of the
logarithm is multiplied by y·ln x, up to 745.
"""

from __future__ import annotations

import math

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.exponential import (
    EXPM1,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
)
from chainrule.program.compiler.llvm.vector_math.logarithm import split
from chainrule.program.compiler.llvm.vector_math.parts import (
    EXPONENT_BIAS,
    ROUNDING,
    absolute,
    at_least,
    at_most,
    bits,
    compare,
    exact_product,
    fma,
    from_bits,
    polynomial,
    power_of_two,
    with_constant,
)
from chainrule.program.compiler.llvm.vector_math.rounding import nearest

# log₂((1 + s) / (1 − s)) / s, of s²
_LOG2 = (
    2.88539008177785,
    0.9617966941133084,
    0.5770779423763953,
    0.4122092510880368,
    0.3199057538525432,
    0.28289929776108846,
)
# 2^t for |t| ≤ ½
_EXP2 = (
    1.0000000005541811,
    0.6931472057373168,
    0.24022646890544147,
    0.05550328776841984,
    0.009618488963853143,
    0.0013399931266004088,
    0.00015345810688981883,
)
# (ln((1 + s) / (1 − s)) − 2·s − ⅔·s³) / s⁵, of s²
_LOG_TAIL = (
    0.3999999999999998,
    0.285714285714451,
    0.22222222217539345,
    0.18181818869960703,
    0.15384556895184384,
    0.1333631648723681,
    0.11674837445425354,
    0.11988855252088823,
)
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# the leading part has 42 bits, so that 11 bits of exponent times it are exact
_LN2 = (0.6931471805592082, 7.371002565167799e-13)


def power(b: Builder, x: Value, y: Value) -> Value:
    """x to the power y: float within 1 ulp, double within 1.5 ulp.

    Special values as in IEEE 754: x⁰ and 1^y are 1 even for NaN, a negative x gives NaN for a y
    that is not whole, and the sign of x for an odd one.
    """
    size = absolute(b, x)
    compute = _power_float if element_of(x.type) == "float" else _power_double
    return _with_special_values(b, x, y, size, compute(b, size, y))


def _power_float(b: Builder, x: Value, y: Value) -> Value:
    base = b.convert("fpext", x, "double")
    exponent, mantissa = split(b, base)
    below, above = (with_constant(b, "fadd", mantissa, c) for c in (-1.0, 1.0))
    s = b.div(below, above)
    logarithm = fma(b, s, polynomial(b, b.mul(s, s), _LOG2), exponent)
    limited = at_least(b, at_most(b, b.convert("fpext", y, "double"), 2.0**60), -(2.0**60))
    product = at_least(b, at_most(b, b.mul(limited, logarithm), 200.0), -200.0)
    shift = ROUNDING["double"] + EXPONENT_BIAS["double"]
    shifted = with_constant(b, "fadd", product, shift)
    rest = b.sub(product, with_constant(b, "fsub", shifted, shift))
    result = b.mul(polynomial(b, rest, _EXP2), power_of_two(b, shifted))
    return b.convert("fptrunc", result, "float")


def _power_double(b: Builder, x: Value, y: Value) -> Value:
    high, low = _logarithm_in_two_parts(b, x)
    limited = at_least(b, at_most(b, y, 2.0**100), -(2.0**100))
    product, rest = exact_product(b, limited, high)
    rest = fma(b, limited, low, rest)
    product = at_least(b, at_most(b, product, 1400.0), -1400.0)
    rest = at_least(b, at_most(b, rest, 1.0), -1.0)
    return _exp_of_two_parts(b, product, rest)


def _logarithm_in_two_parts(b: Builder, x: Value) -> tuple[Value, Value]:
    exponent, mantissa = split(b, x)
    s, s_low = _quotient(b, mantissa)
    square, square_low = exact_product(b, s, s)
    square_low = fma(b, b.add(s, s), s_low, square_low)
    # c = ⅔ + s²·tail
    tail = b.mul(square, polynomial(b, square, _LOG_TAIL))
    two_thirds = b.constant(x.type, _TWO_THIRDS[0])
    c = b.add(two_thirds, tail)
    c_low = with_constant(b, "fadd", b.add(b.sub(two_thirds, c), tail), _TWO_THIRDS[1])
    # u = s³·c
    v, v_low = exact_product(b, square, c)
    v_low = b.add(v_low, fma(b, square, c_low, b.mul(square_low, c)))
    u, u_low = exact_product(b, s, v)
    u_low = b.add(u_low, fma(b, s, v_low, b.mul(s_low, v)))
    # 2·s + u + exponent·ln 2, the largest first
    twice = b.add(s, s)
    high = b.add(twice, u)
    low = b.add(b.add(b.sub(twice, high), u), b.add(b.add(s_low, s_low), u_low))
    scale = with_constant(b, "fmul", exponent, _LN2[0])
    total = b.add(scale, high)
    lost = b.add(b.sub(scale, total), high)
    return total, b.add(lost, fma(b, exponent, _LN2[1], low))


def _quotient(b: Builder, mantissa: Value) -> tuple[Value, Value]:
    """(m − 1) / (m + 1) in two parts."""
    below = with_constant(b, "fadd", mantissa, -1.0)
    above = with_constant(b, "fadd", mantissa, 1.0)
    above_low = b.sub(mantissa, with_constant(b, "fadd", above, -1.0))
    s = b.div(below, above)
    product, lost = exact_product(b, s, above)
    rest = b.sub(b.sub(b.sub(below, product), lost), b.mul(s, above_low))
    return s, b.div(rest, above)


def _exp_of_two_parts(b: Builder, x: Value, low: Value) -> Value:
    """exp(x + low), with results down to the denormal ones."""
    shift = ROUNDING["double"]
    n = with_constant(b, "fsub", fma(b, x, LOG2_E, shift), shift)
    r = fma(b, n, -LN2_HIGH["double"], x)
    r = b.add(r, fma(b, n, -LN2_LOW["double"], low))
    value = polynomial(b, r, (1.0, 1.0, *EXPM1["double"]))
    # 2ⁿ in two halves: n leaves the range of the exponent
    half_shift = shift + EXPONENT_BIAS["double"]
    half = fma(b, n, 0.5, half_shift)
    other = with_constant(
        b, "fadd", b.sub(n, with_constant(b, "fsub", half, half_shift)), half_shift
    )
    return b.mul(b.mul(value, power_of_two(b, half)), power_of_two(b, other))


def _with_special_values(b: Builder, x: Value, y: Value, size: Value, result: Value) -> Value:
    type_ = x.type
    zero, infinity = b.constant(type_, 0.0), b.constant(type_, math.inf)
    none = compare(b, "oeq", size, 0.0)
    extreme = b.binary("or", none, compare(b, "oeq", size, math.inf))
    vanishes = b.binary("xor", none, compare(b, "olt", y, 0.0))
    result = b.select(extreme, b.select(vanishes, zero, infinity), result)
    whole = b.compare("oeq", nearest(b, y), y)
    half = with_constant(b, "fmul", y, 0.5)
    odd = b.binary("and", whole, b.compare("une", nearest(b, half), half))
    sign = b.binary("xor", bits(b, x), bits(b, size))
    signed = from_bits(b, b.binary("or", bits(b, result), sign))
    result = b.select(odd, signed, result)
    negative = b.binary("and", compare(b, "olt", x, 0.0), compare(b, "ogt", x, -math.inf))
    fractional = b.binary("and", negative, b.compare("one", nearest(b, y), y))
    undefined = b.binary("or", fractional, b.compare("uno", x, y))
    result = b.select(undefined, b.constant(type_, math.nan), result)
    one = b.binary("or", compare(b, "oeq", x, 1.0), compare(b, "oeq", y, 0.0))
    return b.select(one, b.constant(type_, 1.0), result)
