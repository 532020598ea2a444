"""x modulo π/2, for every finite x.

Up to a bound π/2 is subtracted in parts (Cody and Waite, "Software Manual for the Elementary
Functions", 1980): with fma each part may have all the bits of the type, else the product of a part
and the number of quarter turns must be exact. Beyond, lane by lane, after Payne and Hanek ("Radian
reduction for trigonometric functions", SIGNUM 1983): only those bits of 2/π are multiplied that
change the result modulo 4.
"""

from __future__ import annotations

import itertools
import math

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of, lanes_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    ROUNDING,
    absolute,
    any_lane,
    bits,
    compare,
    fma,
    from_bits,
    with_constant,
)

_PARTS = {
    ("float", True): (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    ("float", False): (
        1.5703125,
        0.00048351287841796875,
        3.1385570764541626e-07,
        6.07710062827671e-11,
    ),
    ("double", True): (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    ("double", False): (
        1.5707963267341256,
        6.077100506303966e-11,
        2.0222662487111665e-21,
        8.4784276603689e-32,
    ),
}
_BOUND = {
    ("float", True): 1e5,
    ("float", False): 12e3,
    ("double", True): 1e9,
    ("double", False): 1e6,
}

# 64 zeros and the first 1216 bits of 2/π
_TWO_OVER_PI = (
    0x0000000000000000,
    0xA2F9836E4E441529,
    0xFC2757D1F534DDC0,
    0xDB6295993C439041,
    0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0,
    0x06492EEA09D1921C,
    0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484,
    0xE99C7026B45F7E41,
    0x3991D639835339F4,
    0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F,
    0xEF2F118B5A0A6D1F,
    0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B,
    0x3D0739F78A5292EA,
    0x6BFB5FB11F8D5D08,
    0x56033046FC7B6BAB,
)
_HALF_PI_TIMES_2_63 = 0xC90FDAA22168C235


def quarter_turns(b: Builder, x: Value) -> tuple[Value, Value]:
    """n and r of x = n·π/2 + r, |r| ≤ π/4 but for a rounding of the quotient.

    Returns:
        n modulo 4 in the two lowest bits of integer lanes, the other bits are anything, and r,
        correctly rounded but for about one unit; NaN at ±Inf and NaN.
    """
    key = (element_of(x.type), b.module.target.has_fma)
    shift = ROUNDING[key[0]]
    shifted = fma(b, x, 2 / math.pi, shift)
    n = with_constant(b, "fsub", shifted, shift)
    rest = x
    for part in _PARTS[key]:
        rest = fma(b, n, -part, rest)
    return _far_lanes(b, x, bits(b, shifted), rest, _BOUND[key])


def _far_lanes(b: Builder, x: Value, n: Value, rest: Value, bound: float) -> tuple[Value, Value]:
    """Replace the lanes of n and rest where |x| exceeds the bound."""
    lanes = lanes_of(x.type)
    far = any_lane(b, compare(b, "ogt", absolute(b, x), bound))
    count = b.select(far, b.i64(lanes), b.i64(0))
    with b.loop(b.i64(0), count, carried=[n, rest]) as loop:
        turns, remainder = loop.carried
        one = _lane(b, x, loop.index)
        beyond = compare(b, "ogt", absolute(b, one), bound)
        wide = one if one.type == "double" else b.convert("fpext", one, "double")
        safe = b.select(beyond, wide, b.constant("double", 2.0**30))
        quadrant, angle = _payne_hanek(b, safe)
        if one.type == "float":
            quadrant = b.convert("trunc", quadrant, "i32")
            angle = b.convert("fptrunc", angle, "float")
        quadrant = b.select(beyond, quadrant, _lane(b, turns, loop.index))
        angle = b.select(beyond, angle, _lane(b, remainder, loop.index))
        loop.carry(
            _with_lane(b, turns, quadrant, loop.index), _with_lane(b, remainder, angle, loop.index)
        )
    turns, rest = loop.results
    return turns, rest


def _lane(b: Builder, x: Value, index: Value) -> Value:
    if lanes_of(x.type) == 1:
        return x
    return b.define(element_of(x.type), f"extractelement {x.type} {x.name}, i64 {index.name}")


def _with_lane(b: Builder, x: Value, value: Value, index: Value) -> Value:
    if lanes_of(x.type) == 1:
        return value
    return b.define(
        x.type,
        f"insertelement {x.type} {x.name}, {value.type} {value.name}, i64 {index.name}",
    )


def _payne_hanek(b: Builder, x: Value) -> tuple[Value, Value]:
    """Quarter turns modulo 4 (``i64``) and the rest of a scalar double of size 2⁻⁸ or more."""
    whole = bits(b, x)
    exponent = with_constant(b, "and", with_constant(b, "lshr", whole, 52), 0x7FF)
    mantissa = with_constant(b, "and", whole, (1 << 52) - 1)
    mantissa = with_constant(b, "or", mantissa, 1 << 52)
    # x = mantissa·2^(exponent − 1075): of 2/π the bits from weight 2^(1076 − exponent) on count
    product = _low_product(b, mantissa, _window(b, with_constant(b, "sub", exponent, 1075 - 62)))
    # two bits of quarter turns, 126 of fraction; rounded to the nearest turn the rest is signed
    turns = with_constant(b, "lshr", with_constant(b, "add", product, 1 << 125), 126)
    rest = b.sub(product, with_constant(b, "shl", turns, 126))
    below = compare(b, "slt", rest, 0)
    size = b.select(below, b.neg(rest), rest)
    zeros = _leading_zeros(b, size)
    leading = b.convert("trunc", with_constant(b, "lshr", b.binary("shl", size, zeros), 64), "i64")
    scaled = b.mul(_wide(b, leading), b.constant("i128", _HALF_PI_TIMES_2_63))
    digits = b.convert("trunc", with_constant(b, "lshr", scaled, 64), "i64")
    # fraction = leading·2^(−62 − zeros), π/2 = constant·2^−63, and 64 bits were dropped
    power = b.sub(b.constant("i64", 1023 - 61), b.convert("trunc", zeros, "i64"))
    scale = from_bits(b, with_constant(b, "shl", power, 52))
    angle = b.mul(b.convert("uitofp", digits, "double"), scale)
    negative = compare(b, "slt", whole, 0)
    flip = b.binary("xor", below, negative)
    angle = b.select(flip, b.neg(angle), angle)
    turns64 = b.convert("trunc", turns, "i64")
    turns64 = b.select(negative, b.neg(turns64), turns64)
    # Inf and NaN stay in the rest
    return turns64, b.add(angle, with_constant(b, "fmul", x, 0.0))


def _window(b: Builder, start: Value) -> list[Value]:
    """192 bits of 2/π from bit ``start`` of the table, as three ``i64``, the highest first."""
    name = "two_over_pi"
    words = ", ".join(f"i64 {word}" for word in _TWO_OVER_PI)
    b.module.add_global(name, f"private constant [{len(_TWO_OVER_PI)} x i64] [{words}]")
    first = with_constant(b, "lshr", start, 6)
    amount = with_constant(b, "and", start, 63)
    table = Value("ptr", f"@{name}")
    loaded = [
        b.load("i64", b.offset(table, with_constant(b, "add", first, i), "i64")) for i in range(4)
    ]
    return [
        b.call_intrinsic("llvm.fshl", "i64", high, low, amount)
        for high, low in itertools.pairwise(loaded)
    ]


def _low_product(b: Builder, mantissa: Value, window: list[Value]) -> Value:
    """Bits 64 to 191 of mantissa·window, as ``i128``."""
    wide = _wide(b, mantissa)
    high, middle, low = (b.mul(wide, _wide(b, word)) for word in window)
    total = b.add(with_constant(b, "lshr", low, 64), middle)
    return b.add(total, with_constant(b, "shl", high, 64))


def _wide(b: Builder, x: Value) -> Value:
    return b.convert("zext", x, "i128")


def _leading_zeros(b: Builder, x: Value) -> Value:
    b.module.declare("llvm.ctlz.i128", "i128", ["i128", "i1"])
    return b.define("i128", f"call i128 @llvm.ctlz.i128(i128 {x.name}, i1 false)")
