"""The error function."""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import element_of
from chainrule.program.compiler.llvm.vector_math.parts import (
    EXPONENT_BIAS,
    ROUNDING,
    absolute,
    at_most,
    compare,
    fma,
    polynomial,
    power_of_two,
    with_constant,
    with_sign,
)

# erf(x) / x − 1, of x², for |x| ≤ 1
_SMALL = {
    "float": (
        0.12837916612625122,
        -0.3761262595653534,
        0.1128358542919159,
        -0.026853810995817184,
        0.005188327748328447,
        -0.0008010191959328949,
        7.853857096051797e-05,
    ),
    "double": (
        0.12837916709551257,
        -0.3761263890318375,
        0.11283791670954857,
        -0.026866170645072893,
        0.005223977624780844,
        -0.0008548326978740999,
        0.00012055331036858963,
        -1.4925593505971459e-05,
        1.646097280301682e-06,
        -1.6350025080596769e-07,
        1.4657878924625477e-08,
        -1.1365662547092835e-09,
        5.945256178242227e-11,
    ),
}
# log₂(1 − erf(x)) from 1 to where erf is 1
_LARGE = {
    "float": (
        -0.0002560739521868527,
        -1.6269986629486084,
        -0.9190829992294312,
        -0.1500941514968872,
        0.03213902935385704,
        -0.0044083064422011375,
        0.0002844726841431111,
    ),
    "double": (
        -2.6598609665623066e-07,
        -1.6279043098173434,
        -0.9184610726146178,
        -0.14823207496612517,
        0.027522235165523146,
        0.0004071606391412809,
        -0.002554894782940112,
        0.0009274034583867693,
        -6.629353832192584e-05,
        -0.00010063258461490254,
        6.459115579289285e-05,
        -2.369184582094968e-05,
        6.206340110484922e-06,
        -1.219394963217288e-06,
        1.800991917474671e-07,
        -1.9509193743988042e-08,
        1.4673483773087033e-09,
        -6.855553933000215e-11,
        1.4990966887574626e-12,
    ),
}
# 2^t for |t| ≤ ½
_EXP2 = {
    "float": (
        1.0000001192092896,
        0.6931469440460205,
        0.24022120237350464,
        0.05550713092088699,
        0.009675540961325169,
        0.0013276470126584172,
    ),
    "double": (
        1.0,
        0.6931471805599497,
        0.24022650695908768,
        0.05550410866445883,
        0.009618129108034607,
        0.0013333558228561758,
        0.00015403529961114052,
        1.5252658116403532e-05,
        1.321566284233567e-06,
        1.0208537932497305e-07,
        7.037277784043235e-09,
    ),
}
_ERF_IS_ONE = {"float": 3.92, "double": 5.93}


def erf(b: Builder, x: Value) -> Value:
    """2/√π · ∫₀ˣ exp(−t²) dt: float within 1.3 ulp, double within 2.

    An odd polynomial up to 1, then 1 − 2^p(x) (the form of N. Juffa's erff), where 2^p is below
    0.16, so that its error hardly counts.
    """
    element = element_of(x.type)
    size = absolute(b, x)
    limited = at_most(b, size, _ERF_IS_ONE[element])
    exponent = polynomial(b, limited, _LARGE[element])
    shift = ROUNDING[element] + EXPONENT_BIAS[element]
    shifted = with_constant(b, "fadd", exponent, shift)
    rest = b.sub(exponent, with_constant(b, "fsub", shifted, shift))
    power = polynomial(b, rest, _EXP2[element])
    large = fma(b, b.neg(power), power_of_two(b, shifted), 1.0)
    square = b.mul(limited, limited)
    small = fma(b, limited, polynomial(b, square, _SMALL[element]), limited)
    result = b.select(compare(b, "olt", size, 1.0), small, large)
    return with_sign(b, result, x, size)
