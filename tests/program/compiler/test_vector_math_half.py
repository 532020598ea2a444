"""Conversions of float16 and bfloat16: every value up, hard cases down, on each target."""

import platform

import ml_dtypes
import numpy as np
import pytest
from vector_math_cases import compile_functions, module_text

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.vector_math import half
from chainrule.program.compiler.target import TARGETS

HERE = [""]
if platform.machine().lower() in ("x86_64", "amd64"):
    HERE.append("sse2")
TYPES = {
    "half": (np.float16, half.widen_half, half.narrow_half),
    "bfloat": (ml_dtypes.bfloat16, half.widen_bfloat, half.narrow_bfloat),
}
EVERY = np.arange(2**16, dtype=np.uint16)


def run(function, source, result, x, lanes, target):
    functions = {"convert": (function, 1)}
    chosen = TARGETS[target] if target else None
    return compile_functions(functions, source, result, lanes, chosen)["convert"](x)


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("name", TYPES)
def test_every_value_widens_exactly(name, lanes, target):
    dtype, widen, _ = TYPES[name]
    got = run(widen, "i16", "float", EVERY, lanes, target)
    np.testing.assert_array_equal(got, EVERY.view(dtype).astype(np.float32))
    np.testing.assert_array_equal(np.signbit(got), EVERY >= 2**15)


def between(dtype):
    """Every finite value, the middle to the next, and the closest doubles on both sides of it."""
    with np.errstate(invalid="ignore"):
        values = EVERY.view(dtype).astype(np.float64)
    values = np.sort(values[np.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    beyond = np.array([np.inf, np.nan, 1e300, 65519.999, 65520.0, 3.39e38, 3.4e38, 1e-300])
    beyond = np.concatenate([beyond, -beyond])
    return np.concatenate(
        [values, middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf), beyond]
    )


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("lanes", [1, 4, 8])
@pytest.mark.parametrize("source", ["float", "double"])
@pytest.mark.parametrize("name", TYPES)
def test_narrowing_rounds_once_to_nearest_even(name, source, lanes, target):
    dtype, _, narrow = TYPES[name]
    with np.errstate(over="ignore"):
        x = between(dtype).astype(np.float32 if source == "float" else np.float64)
        wanted = x.astype(dtype) if name == "half" else round_to_bfloat(x)
    got = run(narrow, source, "i16", x, lanes, target).view(dtype)
    np.testing.assert_array_equal(np.isnan(got.astype(float)), np.isnan(x))
    known = ~np.isnan(x)
    np.testing.assert_array_equal(got[known].view(np.uint16), wanted[known].view(np.uint16))


def round_to_bfloat(x):
    """ml_dtypes rounds a double twice; here the nearest of all values is looked up."""
    if x.dtype == np.float32:
        return x.astype(ml_dtypes.bfloat16)
    positive = np.arange(0x7F80, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float64)
    limits = (positive[1:] + positive[:-1]) / 2
    limits = np.append(limits, positive[-1] + (positive[-1] - limits[-1]))
    size = np.abs(np.nan_to_num(x, nan=0.0, posinf=np.inf))
    low = np.searchsorted(limits, size, side="left")
    high = np.searchsorted(limits, size, side="right")
    number = np.where(low % 2 == 0, low, high)
    code = number.astype(np.uint16) | (np.signbit(x).astype(np.uint16) << 15)
    return code.view(ml_dtypes.bfloat16)


@pytest.mark.parametrize("target", ["avx512", "avx2", "sse2", "neon", "scalar"])
def test_no_library_is_called(target):
    chosen = TARGETS[target]
    for source, functions in [
        ("i16", {"half": (half.widen_half, 1), "bfloat": (half.widen_bfloat, 1)}),
        ("float", {"half": (half.narrow_half, 1), "bfloat": (half.narrow_bfloat, 1)}),
        ("double", {"half": (half.narrow_half, 1), "bfloat": (half.narrow_bfloat, 1)}),
    ]:
        result = "float" if source == "i16" else "i16"
        for lanes in (1, 4, 16):
            text = module_text(functions, source, result, lanes, chosen)
            lines = [line.split() for line in jit.emit_assembly(text, chosen).splitlines()]
            assert not {line[0] for line in lines if line} & {"call", "callq", "bl", "blr"}
