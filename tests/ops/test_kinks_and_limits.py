"""The values that the records promise at ties, kinks and the ends of a type's range."""

import ml_dtypes
import numpy as np
import pytest

from chainrule import ops
from chainrule.array import asarray, variable
from chainrule.autodiff import grad, gradients
from chainrule.ops import dtypes
from chainrule.ops.record import bind

INF, NAN = float("inf"), float("nan")


def derivative(function, *values):
    """Gradients of Σ wᵢ·yᵢ with weights that differ, divided by the weights."""
    xs = [variable(np.array(v, dtype=np.float64)) for v in values]
    y = function(*xs)
    weights = np.arange(1.0, y.size + 1).reshape(y.shape)
    found = gradients((y * weights).sum(), xs)
    return [(g / weights).tolist() if g.shape == y.shape else g.tolist() for g in found]


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        (ops.relu, [[-1.0, 0.0, -0.0, 2.0]], [[0.0, 0.0, 0.0, 1.0]]),
        (ops.abs, [[-1.0, 0.0, -0.0, 2.0]], [[-1.0, 0.0, 0.0, 1.0]]),
        (ops.maximum, [[1.0, 2.0, 3.0], [1.0, 5.0, 0.0]], [[1, 0, 1], [0, 1, 0]]),
        (ops.minimum, [[1.0, 2.0, 3.0], [1.0, 5.0, 0.0]], [[1, 1, 0], [0, 0, 1]]),
        (lambda x: ops.clip(x, -1, 1), [[-2.0, -1.0, 0.5, 1.0, 2.0]], [[0, 1, 1, 1, 0]]),
        (lambda x, e: x**e, [[0.0, 0.0, -2.0], [0.0, 3.0, 2.0]], [[0, 0, -4], [0, 0, 0]]),
        (ops.logaddexp, [[2.0, INF, -INF], [2.0, INF, -INF]], [[0.5, 1, 1], [0.5, 0, 0]]),
        (ops.hypot, [[3.0], [4.0]], [[0.6], [0.8]]),
        (lambda x: ops.max(x), [[3.0, 7.0, 7.0]], [[0.0, 1.0, 0.0]]),
        (lambda x: ops.min(x), [[3.0, 1.0, 1.0]], [[0.0, 1.0, 0.0]]),
        (lambda x: ops.max(x, axis=(0, 1)), [[[1.0, 9.0], [9.0, 2.0]]], [[[0, 1], [0, 0]]]),
        (lambda x: ops.prod(x), [[2.0, 0.0, 5.0]], [[0.0, 10.0, 0.0]]),
        (lambda x: ops.prod(x), [[0.0, 0.0, 5.0]], [[0.0, 0.0, 0.0]]),
        (lambda x: ops.sqrt(x), [[4.0]], [[0.25]]),
    ],
)
def test_derivatives_at_ties_and_kinks(function, values, expected):
    for found, wanted in zip(derivative(function, *values), expected, strict=True):
        assert np.allclose(found, wanted, atol=1e-12)


def test_of_two_values_set_at_one_place_the_last_has_the_derivative():
    updates = variable(np.array([1.0, 2.0, 3.0]))
    x = variable(np.zeros(2))
    y = x.at[np.array([1, 0, 1])].set(updates)
    g_x, g_updates = gradients((y * np.array([10.0, 20.0])).sum(), [x, updates])
    assert y.tolist() == [2.0, 3.0]
    assert g_updates.tolist() == [0.0, 10.0, 20.0]
    assert g_x.tolist() == [0.0, 0.0]


def test_stop_gradient_and_integers_carry_no_derivative():
    assert float(grad(lambda x: x * ops.stop_gradient(x))(3.0)) == 3.0
    assert float(grad(lambda x: x * ops.floor(x))(2.5)) == 2.0
    assert float(grad(lambda x: x * ops.sign(x))(-2.5)) == -1.0


@pytest.mark.parametrize("dtype", [*dtypes.SIGNED, *dtypes.UNSIGNED], ids=str)
def test_integer_division_and_shifts_have_no_undefined_cases(dtype):
    limits = np.iinfo(dtype)
    x = asarray(np.array([7, limits.max, limits.min, 5], dtype))
    zero = asarray(np.zeros(4, dtype))
    assert (x // zero).tolist() == [0, 0, 0, 0]
    assert (x % zero).tolist() == [0, 0, 0, 0]
    far = asarray(np.full(4, 100, dtype))
    assert (x << far).tolist() == [0, 0, 0, 0]
    emptied = [-1 if v < 0 else 0 for v in x.tolist()]
    assert (x >> far).tolist() == emptied
    if limits.min < 0:
        minus = asarray(np.full(4, -1, dtype))
        assert (x << minus).tolist() == [0, 0, 0, 0]
        assert (x // minus).tolist()[:2] == [-7, -limits.max]


def test_integer_powers_stay_integers():
    x = asarray([-2, -1, 0, 1, 3])
    assert (x**4).tolist() == [16, 1, 0, 1, 81]
    assert (x ** asarray([-1, -3, 0, -5, -2])).tolist() == [0, -1, 1, 1, 0]
    assert (x**4).dtype == (x**2).dtype == np.int64
    assert (x**2.0).dtype == (x**0.5).dtype == np.float32
    with pytest.raises(TypeError, match="negative power"):
        x**-1


@pytest.mark.parametrize("dtype", [*dtypes.SIGNED, *dtypes.UNSIGNED], ids=str)
@pytest.mark.parametrize("source", dtypes.FLOATS, ids=str)
def test_casts_from_float_saturate(source, dtype):
    limits = np.iinfo(dtype)
    x = asarray(np.array([NAN, INF, -INF, 3.9, -3.9, 1e30], np.float64)).astype(source)
    low, high = int(limits.min), int(limits.max)
    expected = [0, high, low, 3, max(-3, low), high]
    assert x.astype(dtype).tolist() == expected


def test_casts_at_the_very_edge():
    edge = asarray(np.array([2.0**63, np.nextafter(2.0**63, 0), -(2.0**63), 2.0**64]))
    top = 2**63 - 1
    assert edge.astype(np.int64).tolist() == [top, 2**63 - 1024, -(2**63), top]
    assert edge.astype(np.uint64).tolist() == [2**63, 2**63 - 1024, 0, 2**64 - 1]


def test_nan_comes_through():
    x = asarray([1.0, NAN, 3.0])
    assert np.isnan(ops.maximum(x, 2.0).numpy()).tolist() == [False, True, False]
    assert np.isnan(ops.minimum(2.0, x).numpy()).tolist() == [False, True, False]
    assert np.isnan(float(ops.max(x)))
    assert np.isnan(ops.relu(x).numpy()).tolist() == [False, True, False]
    assert ops.isnan(x).tolist() == [False, True, False]


def test_signs_of_zero_are_seen():
    x = asarray([-0.0, 0.0, -2.0, 2.0])
    assert ops.signbit(x).tolist() == [True, False, True, False]
    assert ops.signbit(asarray([-1, 0, 1])).tolist() == [True, False, False]
    signs = np.signbit(ops.copysign(asarray([1.0, 1.0, 1.0, 1.0]), x).numpy())
    assert signs.tolist() == [True, False, True, False]
    assert np.signbit((x[:1] * 1.0).numpy()).all()
    assert np.signbit((asarray([0.0]) * -0.0).numpy()).all()
    assert not np.signbit((asarray([0.0]) * 0.0).numpy()).any()


def test_functions_that_must_not_overflow():
    big = asarray([-1000.0, 1000.0])
    assert ops.sigmoid(big).tolist() == [0.0, 1.0]
    assert ops.logaddexp(big, big).tolist() == pytest.approx([-999.30685, 1000.69315])
    assert float(ops.logsumexp(big)) == 1000.0
    assert float(ops.logsumexp(asarray([-INF, -INF]))) == -INF
    assert float(ops.logsumexp(asarray([INF, 1.0]))) == INF
    assert float(ops.hypot(3e30, 4e30)) == pytest.approx(5e30)
    assert float(ops.hypot(0.0, 0.0)) == 0.0


def test_sixteen_bit_sums_accumulate_in_float32():
    ones = np.full(4096, 1.0)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        x = asarray(ones.astype(dtype))
        assert float(ops.sum(x)) == 4096.0
        assert float(ops.cumulative_sum(x)[-1]) == 4096.0
        assert float(x @ x) == 4096.0


def test_sorting_is_stable_and_puts_nan_last():
    x = asarray([2.0, NAN, 1.0, 2.0, INF])
    assert ops.argsort(x).tolist() == [2, 0, 3, 4, 1]
    assert ops.argsort(x, descending=True).tolist() == [4, 0, 3, 2, 1]
    low = asarray(np.array([3, 0, 3, 255], np.uint8))
    assert ops.argsort(low, descending=True).tolist() == [3, 0, 2, 1]
    least = asarray(np.array([-128, 127, -128], np.int8))
    assert ops.argsort(least, descending=True).tolist() == [1, 0, 2]


def test_round_takes_halves_to_even_and_leaves_integers():
    assert ops.round(asarray([0.5, 1.5, 2.5, -0.5])).tolist() == [0.0, 2.0, 2.0, -0.0]
    assert ops.round(asarray([3])).dtype == np.int64
    assert ops.floor(asarray([3])).dtype == np.int64


def test_infer_refuses_what_does_not_fit():
    x, y = asarray(np.zeros((2, 3))), asarray(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="shapes differ"):
        bind("add", x, y)
    with pytest.raises(TypeError, match="types differ"):
        bind("add", x, asarray(np.zeros((2, 3), np.float32)))
    with pytest.raises(ValueError, match="no elements"):
        ops.max(asarray(np.zeros((0, 3))), axis=0)
    with pytest.raises(ValueError, match="argmax of no elements"):
        ops.argmax(asarray(np.zeros((0, 3))), axis=0)
    with pytest.raises(ValueError, match="reshape"):
        ops.reshape(x, (4, 2))
    with pytest.raises(ValueError, match="no permutation"):
        ops.permute_dims(x, (0, 0))
    with pytest.raises(ValueError, match="differ outside axis"):
        ops.concat([x, y], axis=0)
    with pytest.raises(ValueError, match="does not broadcast"):
        ops.broadcast_to(x, (3, 3))
    with pytest.raises(TypeError, match="condition must be bool"):
        ops.where(x, x, x)
