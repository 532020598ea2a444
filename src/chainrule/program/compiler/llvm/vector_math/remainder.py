"""remainder and floor_divide of floats, exact for every quotient.

As in long division a multiple of the divisor is subtracted from the dividend, some bits of the
quotient at a time. Each difference is exact: it is a multiple of the divisor's last place and not
larger than the divisor's multiple. Quotients below 2²³ take one round.
"""

from __future__ import annotations

import math

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of, lanes_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    ROUNDING,
    absolute,
    bits,
    compare,
    copy_sign,
    from_bits,
    with_constant,
    with_sign,
)
from chainrule.program.compiler.llvm.vector_math.rounding import floor

# bits of the quotient that one round takes
_ROUND_BITS = 23


def remainder(b: Builder, x: Value, y: Value) -> Value:
    """x − y·⌊x / y⌋ with the sign of y, as Python's %; NaN for y = 0 or x = ±Inf; exact but for
    the rounding of a sum where the signs of x and y differ."""
    rest, _ = _remainder_and_shift(b, x, y)
    return rest


def floor_divide(b: Builder, x: Value, y: Value) -> Value:
    """⌊x / y⌋ of the exact quotient; ±Inf or NaN for y = 0; within 1 ulp."""
    _, quotient = _remainder_and_shift(b, x, y)
    whole = floor(b, quotient)
    # the quotient is whole but for its rounding
    short = compare(b, "ogt", b.sub(quotient, whole), 0.5)
    whole = b.select(short, with_constant(b, "fadd", whole, 1.0), whole)
    plain = b.div(x, y)
    nothing = copy_sign(b, b.constant(x.type, 0.0), plain)
    whole = b.select(compare(b, "oeq", quotient, 0.0), nothing, whole)
    return b.select(compare(b, "oeq", y, 0.0), plain, whole)


def _remainder_and_shift(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """The remainder with the sign of y, and the quotient that belongs to it, not yet rounded."""
    rest = _fmod(b, x, y)
    quotient = b.div(b.sub(x, rest), y)
    nothing = compare(b, "oeq", rest, 0.0)
    differ = b.binary("xor", compare(b, "olt", y, 0.0), compare(b, "olt", rest, 0.0))
    shifted = b.binary("and", differ, compare(b, "one", rest, 0.0))
    quotient = b.select(shifted, with_constant(b, "fadd", quotient, -1.0), quotient)
    rest = b.select(shifted, b.add(rest, y), rest)
    zero = copy_sign(b, b.constant(x.type, 0.0), y)
    return b.select(nothing, zero, rest), quotient


def _fmod(b: Builder, x: Value, y: Value) -> Value:
    """x − y·trunc(x / y), with the sign of x."""
    size, divisor = absolute(b, x), absolute(b, y)
    if element_of(x.type) == "float":
        wide = _reduce(b, b.convert("fpext", size, "double"), b.convert("fpext", divisor, "double"))
        result = b.convert("fptrunc", wide, "float")
        smallest = 0.0
    else:
        result = _reduce(b, size, divisor)
        smallest = 2.0**-1022
    result = b.select(b.compare("olt", size, divisor), size, result)
    # a denormal divisor counts as 0, for doubles
    invalid = b.binary(
        "or",
        compare(b, "ule", divisor, math.nextafter(smallest, -1.0)),
        compare(b, "ueq", size, math.inf),
    )
    result = b.select(invalid, b.constant(x.type, math.nan), result)
    return with_sign(b, result, x, size)


def _reduce(b: Builder, size: Value, divisor: Value) -> Value:
    """``size`` modulo ``divisor`` of doubles that are not negative."""
    whole = bits(b, divisor)
    divisor_exponent = with_constant(b, "lshr", whole, 52)
    gap = b.sub(with_constant(b, "lshr", bits(b, size), 52), divisor_exponent)
    largest = (
        gap if lanes_of(gap.type) == 1 else b.call_intrinsic("llvm.vector.reduce.smax", "i64", gap)
    )
    rounds = with_constant(b, "add", with_constant(b, "sdiv", largest, _ROUND_BITS), 1)
    rounds = b.select(compare(b, "slt", largest, 0), b.i64(0), rounds)
    with b.loop(b.i64(0), rounds, carried=[size]) as loop:
        (current,) = loop.carried
        exponent = with_constant(b, "lshr", bits(b, current), 52)
        above = with_constant(b, "sub", b.sub(exponent, divisor_exponent), _ROUND_BITS)
        zero = b.zero(above.type)
        above = b.select(b.compare("sgt", above, zero), above, zero)
        multiple = from_bits(b, b.add(whole, with_constant(b, "shl", above, 52)))
        following = _subtract_multiple(b, current, multiple)
        smaller = b.compare("olt", current, multiple)
        loop.carry(b.select(smaller, current, following))
    (rest,) = loop.results
    return rest


def _subtract_multiple(b: Builder, x: Value, unit: Value) -> Value:
    """x modulo ``unit`` of 0 ≤ x < 2²⁴·unit, exactly: the unit's halves times q are exact."""
    ratio = b.div(x, unit)
    q = with_constant(
        b, "fsub", with_constant(b, "fadd", ratio, ROUNDING["double"]), ROUNDING["double"]
    )
    high = from_bits(b, with_constant(b, "and", bits(b, unit), -(1 << 27)))
    low = b.sub(unit, high)
    rest = b.sub(b.sub(x, b.mul(q, high)), b.mul(q, low))
    return b.select(compare(b, "olt", rest, 0.0), b.add(rest, unit), rest)
