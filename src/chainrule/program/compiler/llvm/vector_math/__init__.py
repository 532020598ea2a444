"""Elementwise functions as inline IR, lane by lane, on scalars and vectors of float and double."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.program.compiler.llvm.builder import Value
from chainrule.program.compiler.llvm.vector_math.error_function import erf
from chainrule.program.compiler.llvm.vector_math.exponential import exp, expm1, sigmoid
from chainrule.program.compiler.llvm.vector_math.hyperbolic import (
    acosh,
    asinh,
    atanh,
    cosh,
    sinh,
    tanh,
)
from chainrule.program.compiler.llvm.vector_math.inverse_trigonometric import (
    acos,
    asin,
    atan,
    atan2,
)
from chainrule.program.compiler.llvm.vector_math.logarithm import log, log1p
from chainrule.program.compiler.llvm.vector_math.power import power
from chainrule.program.compiler.llvm.vector_math.remainder import floor_divide, remainder
from chainrule.program.compiler.llvm.vector_math.rounding import ceil, floor, nearest, trunc
from chainrule.program.compiler.llvm.vector_math.trigonometric import cos, sin, tan

# functions of more than one value
ARITY = {"atan2": 2, "floor_divide": 2, "power": 2, "remainder": 2}

FUNCTIONS: dict[str, Callable[..., Value]] = {
    "acos": acos,
    "acosh": acosh,
    "asin": asin,
    "asinh": asinh,
    "atan": atan,
    "atan2": atan2,
    "atanh": atanh,
    "ceil": ceil,
    "cos": cos,
    "cosh": cosh,
    "erf": erf,
    "exp": exp,
    "expm1": expm1,
    "floor": floor,
    "floor_divide": floor_divide,
    "log": log,
    "log1p": log1p,
    "power": power,
    "remainder": remainder,
    "round": nearest,
    "sigmoid": sigmoid,
    "sin": sin,
    "sinh": sinh,
    "tan": tan,
    "tanh": tanh,
    "trunc": trunc,
}
