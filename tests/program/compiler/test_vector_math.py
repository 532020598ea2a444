"""Unary vector math: errors against higher precision, special values, no library calls."""

import math
import platform

import numpy as np
import pytest
from vector_math_cases import (
    NUMPY,
    compiled,
    error_in_ulps,
    is_denormal,
    module_text,
    sample,
)

from chainrule.program.compiler.llvm import jit, vector_math
from chainrule.program.compiler.target import TARGETS

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
INF, NAN = math.inf, math.nan


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def erf(x):
    return np.fromiter((math.erf(v) for v in x.astype(np.float64)), np.float64, len(x))


# name → reference of higher precision, most ulp of error for float and double
CASES = {
    "exp": (np.exp, 1.7, 1.7),
    "expm1": (np.expm1, 2.0, 2.0),
    "log": (np.log, 1.0, 1.0),
    "log1p": (np.log1p, 1.5, 1.5),
    "sigmoid": (sigmoid, 2.0, 2.0),
    "sin": (np.sin, 2.5, 2.5),
    "cos": (np.cos, 2.5, 2.5),
    "tan": (np.tan, 4.0, 4.0),
    "asin": (np.arcsin, 2.5, 2.5),
    "acos": (np.arccos, 1.5, 1.5),
    "atan": (np.arctan, 2.5, 2.5),
    "sinh": (np.sinh, 2.0, 2.0),
    "cosh": (np.cosh, 2.0, 2.0),
    "tanh": (np.tanh, 1.7, 1.7),
    "asinh": (np.arcsinh, 2.0, 2.0),
    "acosh": (np.arccosh, 3.0, 3.0),
    "atanh": (np.arctanh, 2.5, 2.5),
    "erf": (erf, 1.7, 2.2),
}

# name → (x, result) pairs, exact
HALF_PI = math.pi / 2
SPECIAL = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN), (1e4, INF), (-1e4, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (NAN, NAN), (-1e4, -1.0)],
    "log": [
        (1.0, 0.0),
        (0.0, -INF),
        (-0.0, -INF),
        (INF, INF),
        (-INF, NAN),
        (-1.0, NAN),
        (NAN, NAN),
    ],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (NAN, NAN)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (1e4, 1.0), (NAN, NAN)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (1.0, HALF_PI), (-1.0, -HALF_PI), (1.5, NAN), (NAN, NAN)],
    "acos": [(0.0, HALF_PI), (1.0, 0.0), (-1.0, math.pi), (1.5, NAN), (-INF, NAN), (NAN, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, HALF_PI), (-INF, -HALF_PI), (NAN, NAN)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (-1e4, -INF), (NAN, NAN)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (1e4, INF), (NAN, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e4, 1.0), (NAN, NAN)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)],
    "acosh": [(1.0, 0.0), (INF, INF), (0.5, NAN), (-3.0, NAN), (-INF, NAN), (NAN, NAN)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.5, NAN), (NAN, NAN)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e4, 1.0), (NAN, NAN)],
}


def measure(name, element, lanes, target=""):
    reference, *_ = CASES[name]
    x = sample(element)
    x = x[~is_denormal(x)]
    got = compiled(element, lanes, target)[name](x)
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64 if element == "float" else np.longdouble))
    error = error_in_ulps(got, exact)
    # a denormal result may be flushed
    tiny = np.finfo(NUMPY[element]).tiny
    flushed = (np.abs(exact) < tiny) & (np.abs(got) <= tiny)
    return np.where(flushed, 0, error)


@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("name", CASES)
def test_error_is_within_its_bound(name, element):
    bound = CASES[name][1 if element == "float" else 2]
    assert measure(name, element, 8 if element == "float" else 4).max() <= bound


@pytest.mark.skipif(not ON_X86, reason="runs code for x86")
@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("name", CASES)
def test_error_is_within_its_bound_without_fma(name, element):
    bound = CASES[name][1 if element == "float" else 2]
    assert measure(name, element, 4 if element == "float" else 2, "sse2").max() <= bound


@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name, element):
    points, values = np.array(SPECIAL[name], NUMPY[element]).T
    got = compiled(element, 4)[name](points)
    np.testing.assert_array_equal(got, values)
    known = ~np.isnan(values)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(values[known]))


@pytest.mark.parametrize("element", ["float", "double"])
def test_every_lane_count_gives_the_same_bits(element):
    x = sample(element)[::37]
    for name in CASES:
        alone = compiled(element, 1)[name](x)
        for lanes in (2, 3, 4, 8, 16):
            together = compiled(element, lanes)[name](x)
            np.testing.assert_array_equal(together, alone, err_msg=f"{name} at {lanes} lanes")


@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("name", ["avx512", "avx2", "sse2", "neon", "scalar"])
def test_no_library_is_called(name, element):
    target = TARGETS[name]
    functions = {
        key: (function, vector_math.ARITY.get(key, 1))
        for key, function in vector_math.FUNCTIONS.items()
    }
    lanes = target.lanes(NUMPY[element].itemsize)
    text = jit.emit_assembly(module_text(functions, element, element, lanes, target), target)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert not {line[0] for line in lines} & {"call", "callq", "bl", "blr"}
    # nor by a jump at the end
    assert not [line for line in lines if line[0] in ("jmp", "b") and not line[1].startswith(".L")]
