"""Convolution against loops that spell out its definition, in float64."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from chainrule.ops.kernels import convolution
from chainrule.ops.kernels.convolution import convolve, output_size


def spread_and_pad(x, padding, dilation):
    """Dilate, then pad or cut, one axis at a time."""
    for axis, ((lo, hi), step) in enumerate(zip(padding, dilation, strict=True), start=2):
        n = x.shape[axis]
        wide = np.zeros((*x.shape[:axis], max(0, (n - 1) * step + 1), *x.shape[axis + 1 :]))
        np.moveaxis(wide, axis, 0)[::step] = np.moveaxis(x, axis, 0)
        widths = [(0, 0)] * x.ndim
        widths[axis] = (max(lo, 0), max(hi, 0))
        wide = np.pad(wide, widths)
        stop = max(0, wide.shape[axis] - max(-hi, 0))
        x = np.take(wide, range(min(max(-lo, 0), stop), stop), axis)
    return x


def naive(x, w, stride, padding, input_dilation, kernel_dilation, groups):
    padded = spread_and_pad(x, padding, input_dilation)
    kernel = w.shape[2:]
    out = []
    for n, k, s, d in zip(padded.shape[2:], kernel, stride, kernel_dilation, strict=True):
        out.append(sum(start + (k - 1) * d < n for start in range(0, n, s)))
    y = np.zeros((len(x), len(w), *out))
    share = len(w) // groups
    for o in range(len(w)):
        first = o // share * w.shape[1]
        for place in itertools.product(*map(range, out)):
            for tap in itertools.product(*map(range, kernel)):
                at = tuple(
                    p * s + t * d
                    for p, s, t, d in zip(place, stride, tap, kernel_dilation, strict=True)
                )
                for c in range(w.shape[1]):
                    y[(slice(None), o, *place)] += (
                        padded[(slice(None), first + c, *at)] * w[(o, c, *tap)]
                    )
    return y


# spatial, kernel, stride, padding, input dilation, kernel dilation
GEOMETRIES = {
    "plain": ((6,), (3,), (1,), ((0, 0),), (1,), (1,)),
    "one place": ((4,), (1,), (1,), ((0, 0),), (1,), (1,)),
    "stride skips": ((7,), (2,), (3,), ((0, 0),), (1,), (1,)),
    "uneven padding": ((5,), (3,), (2,), ((0, 3),), (1,), (1,)),
    "padding cuts": ((8,), (3,), (1,), ((-2, -1),), (1,), (1,)),
    "padding cuts between": ((5,), (2,), (1,), ((-2, 1),), (3,), (1,)),
    "padding cuts all": ((3,), (1,), (1,), ((-5, 4),), (1,), (1,)),
    "both dilations": ((4,), (3,), (2,), ((1, 2),), (3,), (2,)),
    "kernel wider than input": ((2,), (5,), (1,), ((3, 3),), (1,), (1,)),
    "large kernel": ((9,), (8,), (1,), ((0, 0),), (1,), (1,)),
    "does not fit": ((3,), (5,), (1,), ((0, 0),), (1,), (1,)),
    "empty input": ((0,), (2,), (1,), ((2, 1),), (2,), (1,)),
    "plane": ((5, 6), (3, 2), (1, 2), ((1, 1), (0, 1)), (1, 1), (1, 2)),
    "plane, transposed": ((3, 4), (3, 3), (1, 1), ((1, 2), (2, 2)), (2, 2), (1, 1)),
    "plane, one row": ((1, 5), (1, 3), (1, 1), ((0, 0), (1, 1)), (1, 1), (1, 1)),
    "plane, large kernel": ((5, 5), (4, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    "plane, one axis empty": ((4, 2), (2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    "space": ((3, 4, 3), (2, 2, 3), (1, 2, 1), ((1, 0), (0, 1), (1, 1)), (1, 1, 2), (1, 2, 1)),
}


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_agrees_with_loops(name, groups):
    spatial, kernel, *geometry = GEOMETRIES[name]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 4, *spatial))
    w = rng.normal(size=(8, 4 // groups, *kernel))
    expected = naive(x, w, *geometry, groups)
    result = convolve(x, w, *geometry, groups)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_output_size_agrees_with_the_result(name):
    spatial, kernel, stride, padding, input_dilation, kernel_dilation = GEOMETRIES[name]
    result = convolve(
        np.zeros((1, 1, *spatial)), np.zeros((1, 1, *kernel)), *GEOMETRIES[name][2:], 1
    )
    sizes = tuple(
        output_size(n, k, s, lo, hi, a, b)
        for n, k, s, (lo, hi), a, b in zip(
            spatial, kernel, stride, padding, input_dilation, kernel_dilation, strict=True
        )
    )
    assert result.shape[2:] == sizes


@pytest.mark.parametrize(
    ("batch", "channels", "kernels", "kernel", "shape"),
    [
        (0, 2, 3, 2, (0, 3, 4)),
        (2, 0, 3, 2, (2, 3, 4)),
        (2, 2, 0, 2, (2, 0, 4)),
        (2, 2, 3, 0, (2, 3, 6)),
    ],
)
def test_empty_operands_give_zeros(batch, channels, kernels, kernel, shape):
    x, w = np.ones((batch, channels, 5)), np.ones((kernels, channels, kernel))
    result = convolve(x, w, (1,), ((0, 0),), (1,), (1,), 1)
    assert result.shape == shape
    assert not result.any()


def test_batch_is_cut_into_parts(monkeypatch):
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(7, 2, 6)), rng.normal(size=(3, 2, 3))
    whole = convolve(x, w, (1,), ((1, 1),), (1,), (1,), 1)
    monkeypatch.setattr(convolution, "_CHUNK", 80)
    np.testing.assert_allclose(convolve(x, w, (1,), ((1, 1),), (1,), (1,), 1), whole, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_summed_in_float32(dtype):
    # 1 + 4096 · 2⁻¹³ is 1.5; summed in 16 bits the small terms would vanish
    x = np.full((1, 4097, 1), 2.0**-13, dtype)
    x[0, 0] = 1
    result = convolve(x, np.ones((1, 4097, 1), dtype), (1,), ((0, 0),), (1,), (1,), 1)
    assert result.dtype == dtype
    assert float(result[0, 0, 0]) == 1.5


def test_float32_stays_and_integers_are_exact():
    ones = np.ones((1, 1, 2), np.float32)
    assert convolve(ones, ones, (1,), ((0, 0),), (1,), (1,), 1).dtype == np.float32
    x = np.full((1, 1, 2), 2**60 + 1)
    result = convolve(x, np.array([[[3, 2]]]), (1,), ((0, 0),), (1,), (1,), 1)
    assert result.dtype == np.int64
    assert int(result[0, 0, 0]) == 5 * (2**60 + 1)


def test_operands_need_not_be_contiguous_and_stay_as_they_are():
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(6, 5, 2, 2)).T, rng.normal(size=(3, 3, 2, 4)).T
    copies = x.copy(), w.copy()
    geometry = ((1, 1), ((1, 1), (0, 0)), (1, 1), (1, 1), 1)
    assert np.array_equal(convolve(x, w, *geometry), convolve(*copies, *geometry))
    assert np.array_equal(x, copies[0])
    assert np.array_equal(w, copies[1])


def test_is_linear_in_both_and_transposes_to_the_dilated_form():
    # ⟨conv(x, w), g⟩ = ⟨x, conv of g, spread by the stride, with w flipped⟩
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(2, 3, 7)), rng.normal(size=(4, 3, 3))
    y = convolve(x, w, (2,), ((1, 1),), (1,), (1,), 1)
    g = rng.normal(size=y.shape)
    flipped = w[:, :, ::-1].swapaxes(0, 1)
    back = convolve(g, flipped, (1,), ((1, 1),), (2,), (1,), 1)
    assert back.shape == x.shape
    assert np.vdot(y, g) == pytest.approx(np.vdot(x, back), rel=1e-12)
