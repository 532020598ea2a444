"""Lowering of scatter and argsort, against the ops' own evaluation, on several thread counts."""

import numpy as np
import pytest
from hard_lowering import Chain, assert_close, check, forced, spread

from chainrule.ops import dtypes
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.lowering.sorting import network

# --- scatter ----------------------------------------------------------------------------------

SCATTERS = {
    # data, indices
    "registry 0": ((5, 3), (4, 1)),
    "registry 2": ((3, 3), (6, 2)),
    "one": ((1,), (1, 1)),
    "no updates": ((6, 2), (0, 1)),
    "no columns": ((6, 0), (4, 1)),
    "index of nothing": ((3, 4), (5, 0)),
    "many elements": ((5000,), (20000, 1)),
    "many rows": ((700, 33), (900, 1)),
    "few wide rows": ((3, 5001), (17, 1)),
    "one wide row": ((1, 9000), (9, 1)),
    "two places": ((40, 50, 7), (30, 5, 2)),
    "rows of eight": ((1000, 8), (300, 1)),
}


def scattered(rng, data, indices, dtype, index_dtype=np.int64):
    depth = indices[-1]
    shape = (*indices[:-1], *data[depth:])
    bounds = np.array(data[:depth], np.int64)
    places = (rng.random(indices) * bounds).astype(index_dtype)
    return spread(rng, data, dtype), places, spread(rng, shape, dtype)


@pytest.mark.parametrize("mode", ["add", "set"])
@pytest.mark.parametrize("name", SCATTERS)
def test_scatter_of_every_shape(name, mode):
    rng = np.random.default_rng(1)
    check("scatter", *scattered(rng, *SCATTERS[name], np.float32), mode=mode)


@pytest.mark.parametrize("mode", ["add", "set"])
@pytest.mark.parametrize("dtype", dtypes.NUMERIC, ids=str)
def test_scatter_of_every_type(dtype, mode):
    rng = np.random.default_rng(2)
    check("scatter", *scattered(rng, (9, 21), (300, 1), dtype), mode=mode)
    check("scatter", *scattered(rng, (2, 4099), (11, 1), dtype), mode=mode)


@pytest.mark.parametrize("dtype", [*dtypes.SIGNED, *dtypes.UNSIGNED], ids=str)
def test_scatter_by_indices_of_every_type(dtype):
    rng = np.random.default_rng(3)
    check("scatter", *scattered(rng, (90, 2), (300, 1), np.float32, dtype), mode="add")


def test_many_updates_of_one_place_are_added_in_order():
    rng = np.random.default_rng(4)
    x, _, updates = scattered(rng, (50, 5), (5000, 1), np.float32)
    check("scatter", x, np.full((5000, 1), 17), updates, mode="add")
    check("scatter", x, np.full((5000, 1), 17), updates, mode="set")


@pytest.mark.parametrize("dtype", [np.float16, dtypes.bfloat16], ids=["half", "bfloat16"])
def test_half_precision_is_added_up_in_single(dtype):
    ones = np.ones((6000, 1), dtype)
    check("scatter", np.ones((3, 1), dtype), np.ones((6000, 1), np.int64), ones, mode="add")


@pytest.mark.parametrize("mode", ["add", "set"])
@pytest.mark.parametrize(
    ("dtype", "bad"),
    [(np.int64, -1), (np.int64, 2**62), (np.uint64, 2**63 + 5), (np.int32, 700), (np.int8, -128)],
)
def test_a_bad_index_is_reported_and_skipped(mode, dtype, bad):
    rng = np.random.default_rng(5)
    x, places, updates = scattered(rng, (100, 40), (500, 1), np.float32, dtype)
    places[[123, 77, 400]] = bad
    places[400] = 101  # the first is what is reported
    chain = Chain(x, np.where(places == bad, 0, places % 100).astype(dtype), updates)
    output = chain.add("scatter", *chain.inputs, mode=mode)
    chain.values[chain.inputs[1]] = places
    found, error = chain.run(output)
    assert error == (1, int(np.uint64(bad % 2**64).astype(np.int64)))
    good = np.setdiff1d(np.arange(500), [77, 123, 400])
    expected = REGISTRY["scatter"].evaluate(x, places[good], updates[good], mode=mode)
    assert_close(found, expected, 0.0)


@pytest.mark.parametrize("dtype", [*dtypes.FLOATS, dtypes.int8], ids=str)
@pytest.mark.parametrize("number", [0, 3])
def test_what_starts_from_one_number_is_not_read(number, dtype):
    rng = np.random.default_rng(6)
    _, places, updates = scattered(rng, (90, 31), (400, 1), dtype)
    chain = Chain(places, updates)
    start = chain.add("broadcast_to", chain.constant(np.asarray(number, dtype)), shape=(90, 31))
    output = chain.add("scatter", start, *chain.inputs, mode="add")
    found, _ = chain.run(output)
    assert_close(found, chain.values[output], 0.0)


def test_indices_are_checked_where_nothing_is_written():
    chain = Chain(np.zeros((2, 0)), np.array([[1]]), np.zeros((1, 0)))
    output = chain.add("scatter", *chain.inputs, mode="add")
    chain.values[chain.inputs[1]] = np.array([[2]])
    assert chain.run(output)[1] == (1, 2)


# --- argsort ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(9))
def test_networks_sort(count):
    pairs = list(network(count))
    for bits in range(2**count):
        values = [bits >> i & 1 for i in range(count)]
        for i, j in pairs:
            values[i], values[j] = sorted((values[i], values[j]))
        assert values == sorted(values)


def keys(rng, shape, dtype):
    """Values with many ties and everything that orders oddly."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        odd = np.array([limits.min, limits.max, 0, 1, limits.max - 1], dtype)
        values = rng.integers(0, 40, shape).astype(dtype)
    else:
        tiny = [1e-40, -1e-40, 5e-324] if dtype.itemsize > 2 else [6e-8, -6e-8]
        odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1.0, *tiny]).astype(dtype)
        values = np.round(rng.normal(size=shape) * 4, 1).astype(dtype)
    return np.where(rng.random(shape) < 0.3, rng.choice(odd, shape), values)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_argsort_of_every_type(dtype, descending):
    rng = np.random.default_rng(6)
    for length in (1, 2, 7, 8, 9, 16, 17, 100, 257):
        check("argsort", keys(rng, (3, length), dtype), axis=1, descending=descending)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5,), 0), ((3, 4), 1), ((3, 4), 0), ((40, 30), 0), ((6, 50, 7), 1), ((0, 4), 1),
        ((4, 0), 1), ((3, 0), 0), ((1000, 3), 1), ((9, 1), 1), ((20011,), 0), ((2, 4096), 1),
    ],
)  # fmt: skip
def test_argsort_along_every_axis(shape, axis, descending):
    rng = np.random.default_rng(7)
    check("argsort", keys(rng, shape, np.float32), axis=axis, descending=descending)
    check("argsort", rng.normal(size=shape), axis=axis, descending=descending)


@pytest.mark.parametrize(
    "line", [np.zeros(1000), np.arange(1000.0), -np.arange(1000.0), np.full(1000, np.nan)]
)
@pytest.mark.parametrize("descending", [False, True])
def test_argsort_of_lines_in_order(line, descending):
    check("argsort", line.astype(np.float32), axis=0, descending=descending)


@pytest.mark.parametrize("name", ["scalar", "sse2", "avx2"])
def test_narrower_targets(name):
    target = forced(name)
    rng = np.random.default_rng(8)
    check("argsort", keys(rng, (3, 50), np.float32), axis=1, descending=True, target=target)
    arrays = scattered(rng, (90, 29), (400, 1), np.float32)
    check("scatter", *arrays, mode="add", target=target)
