"""Gather and scatter against loops, their order, and their errors."""

import ml_dtypes
import numpy as np
import pytest

from chainrule.ops.kernels import scatter
from chainrule.ops.kernels.scatter import gather_nd, scatter_nd

# shape of x, leading shape of the indices, number of indexed axes
CASES = [
    ((5,), (7,), 1),
    ((5, 3), (4,), 1),
    ((5, 3), (2, 4), 2),
    ((4, 3, 2), (6,), 2),
    ((4, 3, 2), (), 3),
    ((2, 3), (4,), 0),
    ((), (3,), 0),
    ((4, 3), (0,), 1),
    ((0, 3), (0,), 1),
    ((4, 0), (3,), 1),
]


def sample(shape, lead, depth, dtype=np.int64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    indices = np.zeros((*lead, depth), dtype)
    for axis, n in enumerate(shape[:depth]):
        indices[..., axis] = rng.integers(0, max(n, 1), lead)
    return x, indices, rng.normal(size=(*lead, *shape[depth:]))


def naive_scatter(x, indices, updates, mode):
    result = x.copy()
    for place in np.ndindex(*indices.shape[:-1]):
        at = tuple(indices[place])
        result[at] = result[at] + updates[place] if mode == "add" else updates[place]
    return result


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint64, np.uint32])
@pytest.mark.parametrize(("shape", "lead", "depth"), CASES)
def test_gather_reads_each_place(shape, lead, depth, dtype):
    x, indices, _ = sample(shape, lead, depth, dtype)
    result = gather_nd(x, indices)
    assert result.shape == (*lead, *shape[depth:])
    for place in np.ndindex(*lead):
        assert np.array_equal(result[place], x[tuple(indices[place])])


@pytest.mark.parametrize("mode", ["add", "set"])
@pytest.mark.parametrize(("shape", "lead", "depth"), CASES)
def test_scatter_agrees_with_loops_to_the_bit(shape, lead, depth, mode):
    x, indices, updates = sample(shape, lead, depth)
    before = x.copy()
    result = scatter_nd(x, indices, updates, mode)
    assert result.shape == x.shape
    assert np.array_equal(result, naive_scatter(x, indices, updates, mode))
    assert np.array_equal(x, before)
    assert not np.shares_memory(result, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_many_duplicates_are_taken_in_order(monkeypatch, dtype):
    monkeypatch.setattr(scatter, "_CHUNK", 100)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 8)).astype(dtype)
    indices = rng.integers(0, 6, (500, 1))
    updates = (10 * rng.normal(size=(500, 8))).astype(dtype)
    for mode in ("add", "set"):
        result = scatter_nd(x, indices, updates, mode)
        assert result.dtype == dtype
        assert np.array_equal(result, naive_scatter(x, indices, updates, mode))


def test_scatter_add_is_the_transpose_of_gather():
    x, indices, updates = sample((5, 4, 3), (9,), 2)
    back = scatter_nd(np.zeros_like(x), indices, updates, "add")
    assert np.vdot(gather_nd(x, indices), updates) == pytest.approx(np.vdot(x, back), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_summed_in_float32(dtype):
    # 1 + 4096 · 2⁻¹³ is 1.5; summed in 16 bits the small terms would vanish
    updates = np.full(4096, 2.0**-13, dtype)
    result = scatter_nd(np.ones(1, dtype), np.zeros((4096, 1), np.int32), updates, "add")
    assert result.dtype == dtype
    assert float(result[0]) == 1.5
    assert float(scatter_nd(np.ones(1, dtype), np.zeros((1, 1), int), updates[:1], "set")[0]) < 1


def test_operands_need_not_be_contiguous():
    x, indices, updates = np.arange(12.0).reshape(3, 4).T, np.array([[3], [0]]), np.ones((3, 2)).T
    for mode in ("add", "set"):
        result = scatter_nd(x, indices, updates, mode)
        assert np.array_equal(result, naive_scatter(x, indices, updates, mode))


@pytest.mark.parametrize(
    ("index", "dtype"), [(-1, np.int64), (4, np.int64), (-1, np.int8), (2**63 + 1, np.uint64)]
)
def test_an_index_out_of_range_is_named(index, dtype):
    indices = np.zeros((2, 3, 2), dtype)
    indices[1, 2, 1] = index
    expected = rf"index {index} at position \(1, 2\) .* axis 1 of size 4"
    with pytest.raises(IndexError, match=expected):
        gather_nd(np.zeros((5, 4)), indices)
    with pytest.raises(IndexError, match=expected):
        scatter_nd(np.zeros((5, 4)), indices, np.zeros((2, 3)), "add")
    with pytest.raises(IndexError, match=expected):
        scatter_nd(np.zeros((5, 4)), indices, np.zeros((2, 3)), "set")


def test_an_empty_axis_has_no_index():
    with pytest.raises(IndexError, match=r"axis 0 of size 0"):
        gather_nd(np.zeros((0, 2)), np.zeros((1, 1), int))
