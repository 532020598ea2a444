"""Vector math of two values, and rounding, which must be exact: against NumPy."""

import itertools
import math
import platform

import numpy as np
import pytest
from vector_math_cases import NUMPY, compiled, error_in_ulps, is_denormal, sample

WIDER = {"float": np.float64, "double": np.longdouble}
TARGETS = [""]
if platform.machine().lower() in ("x86_64", "amd64"):
    TARGETS.append("sse2")
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e30, -1e30, 2.0**53 - 1)
SPECIAL += (2.0**24 - 1, math.inf, -math.inf, math.nan)


def pairs(element):
    """Two numbers of all sizes, bases near 1 with large exponents, whole numbers, special ones."""
    generator = np.random.default_rng(1)
    dtype = NUMPY[element]
    count = 12_000
    width = np.uint32 if element == "float" else np.uint64
    anything = generator.integers(0, 2 ** (8 * dtype.itemsize), (2, count), np.uint64)
    parts = [anything.astype(width).view(dtype)]
    for a, c in [(1, 1), (10, 10), (100, 3), (1e-3, 1), (1, 1e-3), (1e6, 1), (1e10, 1e-3)]:
        parts.append(generator.standard_normal((2, count)) * [[a], [c]])
    near_one = np.exp(generator.standard_normal(count) * 0.01)
    parts.append(np.stack([near_one, generator.standard_normal(count) * 1000]))
    parts.append(generator.integers(-20, 20, (2, count)))
    parts.append(np.array(list(itertools.product(SPECIAL, repeat=2))).T)
    x, y = np.concatenate([part.astype(dtype) for part in parts], axis=1)
    normal = ~is_denormal(x) & ~is_denormal(y)
    return x[normal], y[normal]


def measure(name, element, function, target, lanes):
    x, y = pairs(element)
    got = compiled(element, lanes, target)[name](x, y)
    wider = WIDER[element]
    with np.errstate(all="ignore"):
        exact = function(x.astype(wider), y.astype(wider))
        error = error_in_ulps(got, exact)
    tiny = np.finfo(NUMPY[element]).tiny
    flushed = (np.abs(exact) < tiny) & (np.abs(got) <= tiny)
    visible = ~flushed & ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(got[visible]), np.signbit(exact[visible]))
    return np.where(flushed, 0, error).max()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["float", "double"])
def test_power(element, target):
    assert measure("power", element, np.power, target, 4) <= (1.0 if element == "float" else 1.5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["float", "double"])
def test_atan2(element, target):
    assert measure("atan2", element, np.arctan2, target, 8) <= 2.5


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("name", ["remainder", "floor_divide"])
def test_division_with_rest_is_numpys_to_the_bit(name, element, target):
    x, y = pairs(element)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x, y)
    got = compiled(element, 4, target)[name](x, y)
    np.testing.assert_array_equal(got, wanted)
    visible = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[visible]), np.signbit(wanted[visible]))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize(
    ("name", "function"),
    [("floor", np.floor), ("ceil", np.ceil), ("round", np.rint), ("trunc", np.trunc)],
)
def test_rounding_is_numpys_to_the_bit(name, function, element, target):
    dtype = NUMPY[element]
    limit = 2.0 ** (23 if element == "float" else 52)
    halves = np.arange(-20, 20, dtype=dtype) / 2
    edges = [limit, limit - 0.5, limit / 2 + 0.5, limit / 2 - 0.5, limit + 1, 4 * limit]
    exact = np.concatenate([halves, edges, np.negative(edges), SPECIAL]).astype(dtype)
    x = np.concatenate([sample(element), exact])
    x = x[~is_denormal(x)]
    got = compiled(element, 8, target)[name](x)
    with np.errstate(invalid="ignore"):
        wanted = function(x)
    np.testing.assert_array_equal(got, wanted)
    visible = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[visible]), np.signbit(wanted[visible]))


@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("name", ["power", "atan2", "remainder", "floor_divide"])
def test_every_lane_count_gives_the_same_bits(name, element):
    x, y = (values[::23] for values in pairs(element))
    alone = compiled(element, 1)[name](x, y)
    for lanes in (2, 3, 4, 8, 16):
        np.testing.assert_array_equal(compiled(element, lanes)[name](x, y), alone)
