"""Windows against loops, and their transpose against its definition."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from chainrule.ops.kernels.windows import extract_windows, fold_windows

# lead, spatial, window, stride, padding, dilation
GEOMETRIES = {
    "line": ((2,), (7,), (3,), (1,), ((0, 0),), (1,)),
    "no lead": ((), (7,), (2,), (2,), ((0, 0),), (1,)),
    "stride leaves a rest": ((2,), (7,), (2,), (3,), ((0, 0),), (1,)),
    "padding": ((2,), (5,), (3,), (2,), ((2, 1),), (1,)),
    "padding cuts": ((2,), (9,), (2,), (1,), ((-2, -3),), (1,)),
    "padding cuts all": ((2,), (3,), (2,), (1,), ((-4, 4),), (1,)),
    "dilation": ((2,), (9,), (3,), (1,), ((1, 1),), (3,)),
    "one window of many places": ((2,), (9,), (9,), (1,), ((0, 0),), (1,)),
    "few wide windows": ((2,), (9,), (5,), (2,), ((1, 0),), (2,)),
    "does not fit": ((2,), (3,), (5,), (1,), ((0, 1),), (1,)),
    "empty lead": ((0,), (5,), (3,), (1,), ((0, 0),), (1,)),
    "empty axis": ((2,), (0,), (2,), (1,), ((1, 1),), (1,)),
    "plane": ((2, 3), (5, 6), (2, 3), (2, 1), ((1, 0), (1, 1)), (1, 2)),
    "plane, wide windows": ((2,), (5, 4), (4, 4), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "space": ((2,), (3, 4, 5), (2, 2, 2), (1, 2, 3), ((0, 1), (1, 1), (0, 0)), (2, 1, 1)),
}


def naive(x, window, stride, padding, dilation, fill):
    axes = len(window)
    lead, spatial = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    out = []
    for n, k, s, (lo, hi), d in zip(spatial, window, stride, padding, dilation, strict=True):
        out.append(sum(start + (k - 1) * d < n + lo + hi for start in range(0, n + lo + hi, s)))
    result = np.full((*lead, *out, *window), fill, dtype=x.dtype)
    for place in itertools.product(*map(range, out)):
        for tap in itertools.product(*map(range, window)):
            at = tuple(
                p * s + t * d - lo
                for p, s, t, d, (lo, _) in zip(place, stride, tap, dilation, padding, strict=True)
            )
            if all(0 <= a < n for a, n in zip(at, spatial, strict=True)):
                result[(..., *place, *tap)] = x[(..., *at)]
    return result


@pytest.mark.parametrize("fill", [0, -7.5, -np.inf])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_agrees_with_loops(name, fill):
    lead, spatial, *geometry = GEOMETRIES[name]
    x = np.random.default_rng(0).normal(size=(*lead, *spatial))
    expected = naive(x, *geometry, fill)
    result = extract_windows(x, *geometry, fill)
    assert result.shape == expected.shape
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_fold_is_the_transpose(name):
    lead, spatial, *geometry = GEOMETRIES[name]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(*lead, *spatial))
    windows = extract_windows(x, *geometry)
    g = rng.normal(size=windows.shape)
    folded = fold_windows(g, spatial, *geometry)
    assert folded.shape == x.shape
    assert np.vdot(folded, x) == pytest.approx(np.vdot(g, windows), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_fold_of_ones_counts_the_windows_that_see_a_place(name):
    lead, spatial, *geometry = GEOMETRIES[name]
    ones = np.ones((*lead, *spatial), np.int64)
    windows = extract_windows(np.arange(ones.size).reshape(ones.shape), *geometry, -1)
    counts = np.bincount(windows[windows >= 0], minlength=ones.size).reshape(ones.shape)
    folded = fold_windows(np.ones(windows.shape, np.int64), spatial, *geometry)
    assert folded.dtype == np.int64
    assert np.array_equal(folded, counts)


def test_windows_can_not_be_written():
    x = np.zeros(5)
    windows = extract_windows(x, (3,), (1,), ((0, 0),), (1,))
    assert np.shares_memory(windows, x)
    with pytest.raises(ValueError, match="read-only"):
        windows[0, 0] = 1


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_summed_in_float32(dtype):
    # all 65 windows see the one place: 1 + 64 · 2⁻¹² is 1 + 2⁻⁶; in 16 bits the sum would stay 1
    g = np.full((65, 65), 2.0**-12, dtype)
    g[64, 0] = 1
    result = fold_windows(g, (1,), (65,), (1,), ((64, 64),), (1,))
    assert result.dtype == dtype
    assert float(result[0]) == 1 + 2.0**-6
