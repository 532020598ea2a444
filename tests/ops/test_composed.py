"""Functions composed of primitives: values against NumPy, derivatives against differences."""

import numpy as np
import pytest
from op_samples import assert_close, check_derivative, gradient_function

from chainrule import ops
from chainrule.array import asarray

INDICES = np.array([[2, 0, 1, 2], [1, 1, 0, 2]])
MASK = np.array([[True, False, True, True], [False, True, True, False], [True] * 4])


def sigma(x, axis):
    return x / x.sum(axis=axis, keepdims=True)


# name → (our function, NumPy's, shapes, interval of the samples)
COMPOSED = {
    "mean": (lambda x: ops.mean(x, axis=1), lambda x: x.mean(1), [(3, 4)], (-2, 2)),
    "mean of all": (ops.mean, np.mean, [(3, 4)], (-2, 2)),
    "var": (lambda x: ops.var(x, axis=0), lambda x: x.var(0), [(3, 4)], (-2, 2)),
    "var, corrected": (
        lambda x: ops.var(x, axis=(0, 2), correction=1, keepdims=True),
        lambda x: x.var((0, 2), ddof=1, keepdims=True), [(2, 3, 4)], (-2, 2),
    ),
    "std": (lambda x: ops.std(x, axis=1), lambda x: x.std(1), [(3, 4)], (-2, 2)),
    "logsumexp": (
        lambda x: ops.logsumexp(x, axis=1), lambda x: np.log(np.exp(x).sum(1)), [(3, 4)], (-2, 2),
    ),
    "logsumexp, kept": (
        lambda x: ops.logsumexp(x, axis=(0, 1), keepdims=True),
        lambda x: np.log(np.exp(x).sum(keepdims=True)), [(3, 4)], (-2, 2),
    ),
    "softmax": (
        lambda x: ops.exp(x - ops.logsumexp(x, axis=-1, keepdims=True)),
        lambda x: sigma(np.exp(x), -1), [(3, 4)], (-2, 2),
    ),
    "sum, kept": (
        lambda x: ops.sum(x, axis=-1, keepdims=True), lambda x: x.sum(-1, keepdims=True),
        [(3, 4)], (-2, 2),
    ),
    "cumulative_sum": (
        lambda x: ops.cumulative_sum(x, axis=1, include_initial=True),
        lambda x: np.cumulative_sum(x, axis=1, include_initial=True), [(2, 5)], (-2, 2),
    ),
    "cumulative_prod": (
        lambda x: ops.cumulative_prod(x, axis=1), lambda x: np.cumulative_prod(x, axis=1),
        [(2, 7)], (-2, 2),
    ),
    "cumulative_prod, longer": (
        lambda x: ops.cumulative_prod(x, include_initial=True),
        lambda x: np.cumulative_prod(x, include_initial=True), [(5,)], (0.5, 2),
    ),
    "diff": (lambda x: ops.diff(x, n=2), lambda x: np.diff(x, n=2), [(3, 5)], (-2, 2)),
    "sort": (lambda x: ops.sort(x, axis=0), lambda x: np.sort(x, axis=0), [(5, 2)], (-2, 2)),
    "sort, descending": (
        lambda x: ops.sort(x, descending=True), lambda x: np.sort(x)[..., ::-1], [(2, 5)], (-2, 2),
    ),
    "top_k": (lambda x: ops.top_k(x, 3)[0], lambda x: np.sort(x)[..., :-4:-1], [(2, 6)], (-2, 2)),
    "top_k, first axis": (
        lambda x: ops.top_k(x, 2, axis=0)[0], lambda x: np.sort(x, 0)[:-3:-1], [(5, 3)], (-2, 2),
    ),
    "take": (
        lambda x: ops.take(x, asarray([2, 0, -1]), axis=1), lambda x: x[:, [2, 0, -1]],
        [(3, 4)], (-2, 2),
    ),
    "take_along_axis": (
        lambda x: ops.take_along_axis(x, asarray(INDICES), axis=0),
        lambda x: np.take_along_axis(x, INDICES, 0), [(3, 4)], (-2, 2),
    ),
    "pad": (
        lambda x: ops.pad(x, [(1, 0), (2, 1)], value=3.0),
        lambda x: np.pad(x, [(1, 0), (2, 1)], constant_values=3.0), [(2, 3)], (-2, 2),
    ),
    "pad with zeros": (lambda x: ops.pad(x, 2), lambda x: np.pad(x, 2), [(2, 3)], (-2, 2)),
    "roll": (
        lambda x: ops.roll(x, (1, -2), axis=(0, 1)), lambda x: np.roll(x, (1, -2), (0, 1)),
        [(3, 4)], (-2, 2),
    ),
    "roll, flat": (lambda x: ops.roll(x, 5), lambda x: np.roll(x, 5), [(3, 4)], (-2, 2)),
    "tile": (
        lambda x: ops.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), [(3, 2)], (-2, 2),
    ),
    "repeat": (
        lambda x: ops.repeat(x, 3, axis=1), lambda x: np.repeat(x, 3, 1), [(3, 2)], (-2, 2),
    ),
    "repeat, flat": (lambda x: ops.repeat(x, 2), lambda x: np.repeat(x, 2), [(3, 2)], (-2, 2)),
    "flip": (lambda x: ops.flip(x), lambda x: np.flip(x), [(3, 2)], (-2, 2)),
    "moveaxis": (
        lambda x: ops.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), [(2, 3, 4)], (-2, 2),
    ),
    "squeeze": (lambda x: ops.squeeze(x), np.squeeze, [(1, 3, 1)], (-2, 2)),
    "expand_dims": (
        lambda x: ops.expand_dims(x, axis=(0, -1)), lambda x: np.expand_dims(x, (0, -1)),
        [(3, 2)], (-2, 2),
    ),
    "concat, flat": (
        lambda x, y: ops.concat([x, y], axis=None), lambda x, y: np.concatenate([x, y], None),
        [(3, 2), (4,)], (-2, 2),
    ),
    "stack": (
        lambda x, y: ops.stack([x, y], axis=1), lambda x, y: np.stack([x, y], 1),
        [(3, 2), (3, 2)], (-2, 2),
    ),
    "unstack": (
        lambda x: list(ops.unstack(x, axis=1)), lambda x: [x[:, 0], x[:, 1]], [(3, 2)], (-2, 2),
    ),
    "tril": (lambda x: ops.tril(x, k=-1), lambda x: np.tril(x, -1), [(2, 3, 4)], (-2, 2)),
    "triu": (lambda x: ops.triu(x, k=1), lambda x: np.triu(x, 1), [(4, 3)], (-2, 2)),
    "meshgrid": (
        lambda x, y: ops.meshgrid(x, y), lambda x, y: np.meshgrid(x, y), [(3,), (2,)], (-2, 2),
    ),
    "matmul, batches": (np.matmul, np.matmul, [(2, 1, 3, 4), (5, 4, 2)], (-2, 2)),
    "matmul, vectors": (np.matmul, np.matmul, [(4,), (4,)], (-2, 2)),
    "matmul, vector left": (np.matmul, np.matmul, [(4,), (2, 4, 3)], (-2, 2)),
    "matmul, vector right": (np.matmul, np.matmul, [(2, 3, 4), (4,)], (-2, 2)),
    "tensordot": (
        lambda x, y: ops.tensordot(x, y, axes=((0, -1), (1, 0))),
        lambda x, y: np.tensordot(x, y, ((0, -1), (1, 0))), [(3, 2, 4), (4, 3, 5)], (-2, 2),
    ),
    "vecdot": (lambda x, y: ops.vecdot(x, y), np.vecdot, [(3, 4), (2, 1, 4)], (-2, 2)),
    "outer": (lambda x, y: ops.outer(x, y), np.outer, [(3,), (4,)], (-2, 2)),
    "log2": (ops.log2, np.log2, [(3,)], (0.5, 2)),
    "log10": (ops.log10, np.log10, [(3,)], (0.5, 2)),
    "square": (ops.square, np.square, [(3,)], (-2, 2)),
    "reciprocal": (ops.reciprocal, np.reciprocal, [(3,)], (0.5, 2)),
    "cube": (lambda x: x**3, lambda x: x**3, [(3,)], (-2, 2)),
    "power of a number": (lambda x: 2.5**x, lambda x: 2.5**x, [(3,)], (-2, 2)),
    "hypot": (ops.hypot, np.hypot, [(3, 1), (4,)], (0.5, 2)),
    "logaddexp": (ops.logaddexp, np.logaddexp, [(3, 1), (4,)], (-2, 2)),
    "copysign": (ops.copysign, np.copysign, [(9,), (9,)], (-2, 2)),
    "clip": (lambda x: ops.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), [(9,)], (-2, 2)),
    "where": (
        lambda x, y: ops.where(asarray(MASK), x, y), lambda x, y: np.where(MASK, x, y),
        [(3, 4), (4,)], (-2, 2),
    ),
    "prod": (lambda x: ops.prod(x, axis=(0, 2)), lambda x: x.prod((0, 2)), [(3, 2, 2)], (-2, 2)),
}  # fmt: skip
COMPOSED["matmul, batches"] = (ops.matmul, *COMPOSED["matmul, batches"][1:])
COMPOSED["matmul, vectors"] = (ops.matmul, *COMPOSED["matmul, vectors"][1:])
COMPOSED["matmul, vector left"] = (ops.matmul, *COMPOSED["matmul, vector left"][1:])
COMPOSED["matmul, vector right"] = (ops.matmul, *COMPOSED["matmul, vector right"][1:])


def samples(shapes, interval, seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(*interval, shape) for shape in shapes]


@pytest.mark.parametrize("name", COMPOSED)
def test_values_equal_numpy(name):
    function, oracle, shapes, interval = COMPOSED[name]
    arrays = samples(shapes, interval, 1)
    found, expected = function(*map(asarray, arrays)), oracle(*arrays)
    if not isinstance(expected, list | tuple):
        found, expected = [found], [expected]
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == np.float64
        assert_close(x.numpy(), y, 1e-13)


@pytest.mark.parametrize("name", COMPOSED)
def test_derivatives_agree_with_differences(name):
    function, _, shapes, interval = COMPOSED[name]
    check_derivative(function, samples(shapes, interval, 2))
    check_derivative(gradient_function(function, 3), samples(shapes, interval, 4), rtol=5e-7)


@pytest.mark.parametrize("zeros", [[0], [1, 3], [0, 1, 2, 3]])
def test_products_of_zeros_have_right_derivatives(zeros):
    x = samples([(4,)], (0.5, 2), 5)[0]
    x[zeros] = 0.0
    check_derivative(ops.prod, [x])
    check_derivative(ops.cumulative_prod, [x])
    check_derivative(gradient_function(ops.prod), [x])


def test_functions_on_integers_follow_the_standard():
    x = asarray(np.array([[1, 2], [3, 4]], np.int8))
    assert ops.sum(x).dtype == ops.prod(x).dtype == np.int64
    assert ops.sum(asarray(np.array([1, 2], np.uint8))).dtype == np.uint64
    assert ops.cumulative_sum(x, axis=0).dtype == ops.cumulative_prod(x, axis=0).dtype == np.int64
    assert ops.sum(asarray([True, True])).tolist() == 2
    assert ops.sum(x, dtype=np.float64).dtype == np.float64
    assert ops.mean(x).dtype == np.float32
    assert ops.var(x).tolist() == 1.25
    assert ops.max(x).dtype == np.int8
    assert (x / x).dtype == np.float32
    assert ops.exp(x).dtype == np.float32
    assert ops.sum(asarray(3.0)).tolist() == 3.0
    assert ops.sum(asarray(np.ones((2, 0)))).tolist() == 0.0
    assert ops.prod(asarray(np.ones((2, 0)))).tolist() == 1.0


def test_any_all_and_counting():
    x = np.array([[0, 1, 2], [0, 0, 0], [1, 1, 1]])
    for axis in (None, 0, 1, (0, 1)):
        assert ops.any(asarray(x), axis=axis).tolist() == np.any(x, axis=axis).tolist()
        assert ops.all(asarray(x), axis=axis).tolist() == np.all(x, axis=axis).tolist()
        count = ops.count_nonzero(asarray(x), axis=axis).tolist()
        assert count == np.count_nonzero(x, axis=axis).tolist()
    assert ops.all(asarray([])).tolist() is True
    assert ops.any(asarray([])).tolist() is False


def test_searching():
    x = np.array([[3.0, 1.0, 3.0], [0.5, 0.5, 0.1]])
    for axis in (None, 0, 1):
        assert ops.argmax(asarray(x), axis=axis).tolist() == np.argmax(x, axis=axis).tolist()
        assert ops.argmin(asarray(x), axis=axis).tolist() == np.argmin(x, axis=axis).tolist()
    assert ops.argmax(asarray(x), keepdims=True).shape == (1, 1)
    assert ops.argmax(asarray(x), axis=1, keepdims=True).tolist() == [[0], [0]]
    line, values = np.array([1.0, 2.0, 2.0, 5.0]), np.array([[0.0, 2.0], [5.0, 9.0]])
    for side in ("left", "right"):
        found = ops.searchsorted(asarray(line), asarray(values), side=side)
        assert found.tolist() == np.searchsorted(line, values, side=side).tolist()
    assert [i.tolist() for i in ops.nonzero(asarray(x > 1))] == [
        i.tolist() for i in np.nonzero(x > 1)
    ]
    distinct, counts = ops.unique_counts(asarray(x))
    assert distinct.tolist() == [0.1, 0.5, 1.0, 3.0]
    assert counts.tolist() == [1, 2, 1, 2]
    assert ops.unique_values(asarray([2, 1, 2])).tolist() == [1, 2]


def test_making_arrays():
    assert ops.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert ops.arange(1, 2, 0.25).dtype == np.float32
    assert ops.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert ops.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert ops.linspace(0, 1, 4, endpoint=False).tolist() == [0, 0.25, 0.5, 0.75]
    assert ops.eye(2, 3, k=1).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert ops.full((2,), 7).dtype == np.int64
    assert ops.full((2,), 7.0).dtype == np.float32
    assert ops.full(3, True).tolist() == [True] * 3
    assert ops.zeros((2, 0)).shape == (2, 0)
    assert ops.ones_like(asarray([1, 2])).dtype == np.int64
    assert ops.one_hot(asarray([1, 0, 2]), 3).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    first, second = ops.zeros(()), ops.zeros(())
    assert first.node is not second.node, "two scalars of state must not be tied"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.reshape(x, (-1, -1)), "reshape"),
        (lambda x: ops.reshape(x, (-2, -3)), "reshape"),
        (lambda x: ops.reshape(x, (5, -1)), "reshape"),
        (lambda x: ops.sum(x, axis=2), "axis 2 does not exist"),
        (lambda x: ops.sum(x, axis=(0, 0)), "names an axis twice"),
        (lambda x: ops.squeeze(x, axis=0), "not of size 1"),
        (lambda x: ops.expand_dims(x, axis=(0, 0)), "names an axis twice"),
        (lambda x: ops.top_k(x, 4), "k is out of range"),
        (lambda x: ops.take(x, asarray([0])), "needs an axis"),
        (lambda x: ops.take_along_axis(x, asarray([0])), "do not fit"),
        (lambda x: ops.cumulative_sum(x), "needs an axis"),
        (lambda x: ops.cumulative_prod(x), "needs an axis"),
        (lambda x: ops.tril(x[0]), "take matrices"),
        (lambda x: ops.stack([x, x[0]]), "shapes differ"),
        (lambda x: ops.concat([]), "at least one"),
        (lambda x: ops.zeros((-1,)), "negative"),
        (lambda x: x @ x, "inner sizes differ"),
        (lambda x: x @ asarray(1.0), "no scalars"),
        (lambda x: x + asarray([1.0, 2.0]), "do not broadcast"),
        (lambda x: ops.one_hot(x, 3), "integer labels"),
        (lambda x: ops.matrix_transpose(x[0]), "at least two axes"),
    ],
)
def test_errors_say_what_is_wrong_and_where(call, message):
    x = asarray(np.arange(6.0).reshape(2, 3))
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call(x)
    assert caught.value.where == "" or "test_composed.py" in caught.value.where
