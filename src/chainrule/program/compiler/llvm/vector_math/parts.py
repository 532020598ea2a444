"""What the functions share: bits of floats, limits that let NaN pass, Horner's rule."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of, lanes_of, vector

Number = float | int | bool

MANTISSA_BITS = {"float": 23, "double": 52}
EXPONENT_BIAS = {"float": 127, "double": 1023}
# 1.5·2^mantissa bits: adding it rounds to a whole number, kept in the lowest bits
ROUNDING = {"float": 1.5 * 2.0**23, "double": 1.5 * 2.0**52}


def integer_type(type_: str) -> str:
    """The integer type of the same lanes and width: ``<8 x i32>`` of ``<8 x float>``."""
    return vector({"float": "i32", "double": "i64"}[element_of(type_)], lanes_of(type_))


def bits(b: Builder, x: Value) -> Value:
    """The bits of floats as integers."""
    return b.convert("bitcast", x, element_of(integer_type(x.type)))


def from_bits(b: Builder, x: Value) -> Value:
    """Floats of the bits ``x`` of ``i32`` or ``i64`` lanes."""
    return b.convert("bitcast", x, {"i32": "float", "i64": "double"}[element_of(x.type)])


def with_constant(b: Builder, instruction: str, x: Value, number: Number) -> Value:
    """``instruction`` on x and a constant of its type."""
    return b.binary(instruction, x, b.constant(x.type, number))


def compare(b: Builder, predicate: str, x: Value, number: Number) -> Value:
    """Compare x with a constant."""
    return b.compare(predicate, x, b.constant(x.type, number))


def fma(b: Builder, x: Value, y: Value | float, z: Value | float) -> Value:
    """x·y + z where y and z may be constants."""
    y = y if isinstance(y, Value) else b.constant(x.type, y)
    z = z if isinstance(z, Value) else b.constant(x.type, z)
    return b.fma(x, y, z)


def polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """c[0] + c[1]·x + c[2]·x² + ... by Horner's rule: the fewest instructions."""
    result = b.constant(x.type, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = fma(b, result, x, coefficient)
    return result


def at_most(b: Builder, x: Value, limit: float) -> Value:
    """The smaller of x and a constant; NaN stays."""
    bound = b.constant(x.type, limit)
    if b.module.target.architecture == "arm":
        return b.call_intrinsic("llvm.minimum", x.type, x, bound)
    # in this order it is one instruction of x86, which gives its second operand for NaN
    return b.select(b.compare("olt", bound, x), bound, x)


def at_least(b: Builder, x: Value, limit: float) -> Value:
    """The larger of x and a constant; NaN stays."""
    bound = b.constant(x.type, limit)
    if b.module.target.architecture == "arm":
        return b.call_intrinsic("llvm.maximum", x.type, x, bound)
    return b.select(b.compare("ogt", bound, x), bound, x)


def absolute(b: Builder, x: Value) -> Value:
    """|x|."""
    return b.call_intrinsic("llvm.fabs", x.type, x)


def copy_sign(b: Builder, magnitude: Value, sign: Value) -> Value:
    """``magnitude`` with the sign of ``sign``; a negative magnitude loses its own."""
    return b.call_intrinsic("llvm.copysign", magnitude.type, magnitude, sign)


def power_of_two(b: Builder, shifted: Value) -> Value:
    """2ⁿ of n in the lowest bits of ``shifted``, a sum with ``ROUNDING`` and the exponent's bias.

    n from 1 − bias to bias; 1 more gives Inf, 1 less gives 0.
    """
    width = MANTISSA_BITS[element_of(shifted.type)]
    return from_bits(b, with_constant(b, "shl", bits(b, shifted), width))


def with_sign(b: Builder, magnitude: Value, x: Value, size: Value) -> Value:
    """``magnitude``, which is not negative, with the sign of x; ``size`` is |x|."""
    sign = b.binary("xor", bits(b, x), bits(b, size))
    return from_bits(b, b.binary("or", bits(b, magnitude), sign))


def any_lane(b: Builder, mask: Value) -> Value:
    """``i1``: the mask holds in a lane or more."""
    if lanes_of(mask.type) == 1:
        return mask
    return b.call_intrinsic("llvm.vector.reduce.or", "i1", mask)


def exact_product(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """x·y rounded, and what the rounding lost; doubles below 2⁹⁹⁶ (by Dekker without fma)."""
    product = b.mul(x, y)
    if b.module.target.has_fma:
        return product, b.fma(x, y, b.neg(product))
    x_high, x_low = _halves(b, x)
    y_high, y_low = _halves(b, y)
    lost = b.sub(b.mul(x_high, y_high), product)
    lost = b.add(b.add(lost, b.mul(x_high, y_low)), b.mul(x_low, y_high))
    return product, b.add(lost, b.mul(x_low, y_low))


def _halves(b: Builder, x: Value) -> tuple[Value, Value]:
    """The leading 26 bits of doubles and the rest (Veltkamp's splitting)."""
    scaled = with_constant(b, "fmul", x, 2.0**27 + 1)
    high = b.sub(scaled, b.sub(scaled, x))
    return high, b.sub(x, high)
