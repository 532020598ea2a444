"""tanh."""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value, element_of
from chainrule.program.compiler.llvm.vector_math.exponential import EXPM1, reduce
from chainrule.program.compiler.llvm.vector_math.parts import (
    absolute,
    at_most,
    compare,
    fma,
    polynomial,
    power_of_two,
    with_sign,
)

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
_TANH_IS_ONE = {"float": 9.1, "double": 19.1}


def tanh(b: Builder, x: Value) -> Value:
    """Hyperbolic tangent: float within 1.6 ulp, double within 2.

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
