"""Compiles functions of vector_math into loops over arrays, and measures errors in ulp."""

import ctypes
import functools

import numpy as np

from chainrule.program.compiler.llvm import jit, vector_math
from chainrule.program.compiler.llvm.builder import Builder
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.target import TARGETS, host_target

NUMPY = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "half": np.dtype(np.float16),
    "i16": np.dtype(np.uint16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
}


def module_text(functions, source, result, lanes, target):
    """A module with one loop over arrays for each ``(name, (function, arity))`` of a dict."""
    module = Module(target)
    for name, (function, arity) in functions.items():
        parameters = [("ptr", f"x{i}") for i in range(arity)]
        b = Builder(
            module, name, [("i64", "count"), *parameters, ("ptr", "result")], internal=False
        )
        count, *inputs, output = b.parameters
        with b.loop(0, count, lanes) as loop:
            values = [
                b.load(vector(source, lanes), b.offset(p, loop.index, source)) for p in inputs
            ]
            b.store(function(b, *values), b.offset(output, loop.index, result))
        b.finish()
    return str(module)


def compile_functions(functions, source, result, lanes, target=None):
    """NumPy functions of the same names; arrays are filled up to whole vectors with ones."""
    target = target or host_target()
    text = module_text(functions, source, result, lanes, target)
    library = jit.load([jit.emit_object(text, target)], list(functions))

    def wrap(name, arity):
        pointers = [ctypes.c_void_p] * (arity + 1)
        function = ctypes.CFUNCTYPE(None, ctypes.c_int64, *pointers)(library.addresses[name])

        def call(*arrays):
            _ = library  # keeps the code loaded
            size = len(arrays[0])
            padded = -(-size // lanes) * lanes
            filled = [np.ones(padded, NUMPY[source]) for _ in arrays]
            for whole, array in zip(filled, arrays, strict=True):
                whole[:size] = array
            output = np.empty(padded, NUMPY[result])
            function(padded, *(a.ctypes.data for a in filled), output.ctypes.data)
            return output[:size]

        return call

    return {name: wrap(name, arity) for name, (_, arity) in functions.items()}


@functools.cache
def compiled(element, lanes, target_name=""):
    """Every function of ``FUNCTIONS`` for one element type, lane count and target."""
    target = TARGETS[target_name] if target_name else None
    functions = {
        name: (function, vector_math.ARITY.get(name, 1))
        for name, function in vector_math.FUNCTIONS.items()
    }
    return compile_functions(functions, element, element, lanes, target)


def error_in_ulps(got, exact):
    """Distance from a result of higher precision, in units of the last place of the result.

    Equal infinities and NaN for NaN count as 0, any other mistake in them as Inf. An exact value
    within half a unit of overflow may come out as Inf or as the largest number.
    """
    dtype = got.dtype
    with np.errstate(all="ignore"):
        rounded = exact.astype(dtype)
        unit = np.spacing(np.maximum(np.abs(rounded), np.finfo(dtype).tiny)).astype(exact.dtype)
        error = np.abs(got.astype(exact.dtype) - exact) / unit
        error = np.where(np.isinf(rounded), np.where(got == rounded, 0, np.inf), error)
    return np.where(np.isnan(exact), np.where(np.isnan(got), 0, np.inf), error)


def is_denormal(x):
    """True where x is neither 0 nor normal: what a Program flushes."""
    return (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)


def sample(element, seed=0):
    """Numbers of every size and sign, with many around the points where functions change form."""
    generator = np.random.default_rng(seed)
    dtype = NUMPY[element]
    if element == "float":
        everywhere = np.arange(11, 2**32, 4096, np.uint64).astype(np.uint32).view(np.float32)
    else:
        everywhere = generator.integers(0, 2**64, 60_000, np.uint64).view(np.float64)
    parts = [everywhere]
    count = 40_000 if element == "float" else 8_000
    for spread in (1e-3, 0.05, 0.5, 2.0, 10.0, 100.0, 1000.0):
        parts.append((generator.standard_normal(count) * spread).astype(dtype))
    for spread in (1e-5, 1e-2):
        for center in (1.0, -1.0):
            parts.append((center + generator.standard_normal(count) * spread).astype(dtype))
    return np.concatenate(parts)
