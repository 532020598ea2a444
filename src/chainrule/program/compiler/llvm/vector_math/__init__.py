"""Elementwise functions as inline IR, lane by lane, on scalars and vectors of float and double."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.program.compiler.llvm.builder import Value
from chainrule.program.compiler.llvm.vector_math.error_function import erf
from chainrule.program.compiler.llvm.vector_math.exponential import exp, sigmoid
from chainrule.program.compiler.llvm.vector_math.hyperbolic import tanh
from chainrule.program.compiler.llvm.vector_math.logarithm import log

# functions of more than one value
ARITY: dict[str, int] = {}

FUNCTIONS: dict[str, Callable[..., Value]] = {
    "erf": erf,
    "exp": exp,
    "log": log,
    "sigmoid": sigmoid,
    "tanh": tanh,
}
