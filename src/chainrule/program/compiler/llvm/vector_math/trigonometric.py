"""sin, cos and tan: a rest modulo π/2, then two short polynomials chosen by the quarter turn."""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    bits,
    compare,
    fma,
    from_bits,
    polynomial,
    with_constant,
)
from chainrule.program.compiler.llvm.vector_math.reduction import quarter_turns

# (sin(r) / r − 1) / r², of r², for |r| ≤ 0.8
_SIN = {
    "float": (
        -0.16666653752326965,
        0.008332070894539356,
        -0.0001950306905200705,
    ),
    "double": (
        -0.1666666666666662,
        0.00833333333331984,
        -0.00019841269827728777,
        2.7557312965189218e-06,
        -2.5050643628034113e-08,
        1.5890126906192687e-10,
    ),
}
# (cos(r) − 1 + r²/2) / r⁴, of r², for |r| ≤ 0.8
_COS = {
    "float": (
        0.04166664555668831,
        -0.0013887251261621714,
        2.4424924049526453e-05,
    ),
    "double": (
        0.04166666666666658,
        -0.001388888888887116,
        2.4801587287575276e-05,
        -2.7557313787689194e-07,
        2.0875644930791423e-09,
        -1.1355521366376567e-11,
    ),
}


def sin(b: Builder, x: Value) -> Value:
    """Sine of x radians, of any size: float and double within 1.6 ulp, 2.5 without fma."""
    turns, r = quarter_turns(b, x)
    result = _sine_of_turns(b, turns, r)
    return b.select(compare(b, "oeq", x, 0.0), x, result)


def cos(b: Builder, x: Value) -> Value:
    """Cosine of x radians, of any size: float and double within 1.6 ulp, 2.5 without fma."""
    turns, r = quarter_turns(b, x)
    return _sine_of_turns(b, with_constant(b, "add", turns, 1), r)


def tan(b: Builder, x: Value) -> Value:
    """Tangent of x radians, of any size: float and double within 3.1 ulp, 4 without fma."""
    turns, r = quarter_turns(b, x)
    sine, cosine = _sine_and_cosine(b, r)
    odd = _is_odd(b, turns)
    numerator = b.select(odd, b.neg(cosine), sine)
    result = b.div(numerator, b.select(odd, sine, cosine))
    return b.select(compare(b, "oeq", x, 0.0), x, result)


def _sine_of_turns(b: Builder, turns: Value, r: Value) -> Value:
    """sin(turns·π/2 + r)."""
    sine, cosine = _sine_and_cosine(b, r)
    value = b.select(_is_odd(b, turns), cosine, sine)
    # the second lowest bit becomes the sign
    width = 31 if element_of(r.type) == "float" else 63
    half = with_constant(b, "shl", with_constant(b, "lshr", turns, 1), width)
    return from_bits(b, b.binary("xor", bits(b, value), half))


def _is_odd(b: Builder, turns: Value) -> Value:
    return compare(b, "ne", with_constant(b, "and", turns, 1), 0)


def _sine_and_cosine(b: Builder, r: Value) -> tuple[Value, Value]:
    element = element_of(r.type)
    square = b.mul(r, r)
    sine = fma(b, b.mul(square, r), polynomial(b, square, _SIN[element]), r)
    tail = b.mul(b.mul(square, square), polynomial(b, square, _COS[element]))
    half = with_constant(b, "fmul", square, 0.5)
    leading = b.sub(b.constant(r.type, 1.0), half)
    # what the first subtraction lost is added to the tail
    lost = b.sub(b.sub(b.constant(r.type, 1.0), leading), half)
    return sine, b.add(leading, b.add(lost, tail))
