"""Inputs for the tests that find ops by the registry, and derivatives by finite differences."""

import zlib

import numpy as np

import chainrule.autodiff  # noqa: F401 - registers the ops that live on floor 2
from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.autodiff.reverse import pull_back
from chainrule.ops import dtypes
from chainrule.ops.record import REGISTRY, bind

TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 2e-6, "float64": 1e-12}
CASES = [(op, case) for op in REGISTRY for case in op.cases]
DIFFERENTIABLE = [
    (op, case)
    for op, case in CASES
    if not op.nondifferentiable and case.attributes.get("dtype") in (None, dtypes.float64)
]


def main_dtype(op):
    """float64 where the op takes it, else int64."""
    return dtypes.float64 if dtypes.float64 in op.dtypes else dtypes.int64


def case_id(value):
    """A readable name for a parameter: the op, or the shapes and attributes of a case."""
    if hasattr(value, "shapes"):
        return "-".join(str(shape) for shape in value.shapes) + str(len(value.attributes))
    return str(value)


def generator(op, *more):
    return np.random.default_rng([zlib.crc32(op.name.encode()), *more])


def sample(op, case, dtype=dtypes.float64, shapes=None, seed=0):
    """One NumPy array an input: in the op's domain, away from its kinks, never constant."""
    rng = generator(op, seed)
    arrays = []
    for i, shape in enumerate(case.shapes if shapes is None else shapes):
        if i in case.integers:
            bound = case.integers[i]
            kind = np.uint32 if bound == 2**32 else np.int64
            arrays.append(rng.integers(0, bound, shape, dtype=kind))
        elif i in case.masks or dtype == dtypes.bool_:
            arrays.append(rng.random(shape) < 0.5)
        elif dtypes.is_integer(dtype):
            arrays.append(rng.integers(1, 5, shape).astype(dtype))
        else:
            values = np.asarray(rng.uniform(*case.domain, shape))
            for kink in op.kinks:
                values = np.where(np.abs(values - kink) < 0.05, kink + 0.05 + rng.random(), values)
            arrays.append(values.astype(dtype))
    return arrays


def apply(op, case):
    """The op as a function of Arrays, with the attributes of a case."""
    return lambda *inputs: bind(op, *inputs, **case.attributes)


def outputs_of(result):
    return list(result) if isinstance(result, tuple | list) else [result]


def is_float(x):
    return dtypes.is_floating(x.dtype)


def tolerance(op, dtype):
    return op.tolerance.get(str(dtype), TOLERANCE.get(str(dtype), 0.0))


def assert_close(actual, expected, rtol, context=""):
    """Equal within ``rtol`` of the larger of the value and the array's own scale."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{context}: {actual.shape} != {expected.shape}"
    wide, right = actual.astype(np.float64), expected.astype(np.float64)
    assert np.array_equal(np.isnan(wide), np.isnan(right)), f"{context}: NaN in different places"
    finite = np.isfinite(right)
    assert np.array_equal(wide[~finite & ~np.isnan(right)], right[~finite & ~np.isnan(right)])
    scale = max(1.0, np.abs(right[finite]).max(initial=0.0))
    worst = np.abs(wide[finite] - right[finite]).max(initial=0.0)
    assert worst <= rtol * scale, f"{context}: differs by {worst:.3g}, scale {scale:.3g}"


# --- derivatives ------------------------------------------------------------------------------


def gradient_function(function, seed=0):
    """``function`` ↦ the function that sends random cotangents of its results to its arguments.

    The result is a function of the same arguments, so that it can be differentiated again.
    """

    def gradients(*inputs):
        rng = np.random.default_rng(seed)
        floating = [y for y in outputs_of(function(*inputs)) if is_float(y)]
        cotangents = [asarray(rng.normal(size=y.shape), dtype=y.dtype) for y in floating]
        wrt = [x for x in inputs if is_float(x)]
        found = pull_back(floating, cotangents, wrt)
        return [ops.zeros_like(x) if g is None else g for x, g in zip(wrt, found, strict=True)]

    return gradients


def run(graph, arrays):
    """Evaluate a traced graph, with what its function caught from outside."""
    return graph.evaluate([*arrays, *(x.data for x in graph.captured)])


def check_derivative(function, arrays, seed=0, step=1e-6, rtol=2e-7):
    """Compare the vjp of ``function`` with central differences, entry by entry, in float64."""
    rng = np.random.default_rng(seed)
    forward = trace(lambda *xs: outputs_of(function(*xs)), [asarray(a) for a in arrays])
    values = run(forward, arrays)
    cotangents = [rng.normal(size=v.shape) for v in values if v.dtype == np.float64]
    graph = trace(gradient_function(function, seed), [asarray(a) for a in arrays])

    def weighted(inputs):
        results = [v for v in run(forward, inputs) if v.dtype == np.float64]
        return sum(float((c * v).sum()) for c, v in zip(cotangents, results, strict=True))

    found = run(graph, arrays)
    places = [i for i, a in enumerate(arrays) if a.dtype == np.float64]
    for i, gradient in zip(places, found, strict=True):
        assert gradient.shape == arrays[i].shape
        numeric = np.empty(arrays[i].shape)
        for index in np.ndindex(*arrays[i].shape):
            moved = [a.copy() for a in arrays]
            moved[i][index] = arrays[i][index] + step
            above = weighted(moved)
            moved[i][index] = arrays[i][index] - step
            numeric[index] = (above - weighted(moved)) / (2 * step)
        assert_close(gradient, numeric, rtol, f"derivative in input {i}")
