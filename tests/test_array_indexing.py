"""Indexing, functional updates and interchange, against NumPy."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.array import asarray, placeholder, trace, variable
from chainrule.autodiff import gradients, vmap
from chainrule.errors import DtypeError, IndexRangeError, ShapeError
from chainrule.ops import dtypes

DATA = np.arange(120.0).reshape(4, 5, 6) * 1.25 - 7
MASK2 = DATA[:, :, 0] % 2 < 1
I1, I2 = np.array([2, 0, -1]), np.array([[1, 3], [0, -4]])
KEYS = [
    0, -1, np.int64(2), (1, 2), (1, -2, 3), (slice(None), 1), (..., 1), (1, ..., 2), (), ...,
    slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(3, 0, -2), slice(10, None),
    slice(-3, -1), slice(2, 2), slice(3, 1), slice(0, 0, -1), slice(None, None, -7),
    (slice(None, None, -1), slice(1, None, 2), slice(4, None, -3)),
    None, (None, 1), (1, None), (..., None), (None, ..., None), (slice(1, 3), None, 2),
    (0, None, slice(None, None, -2), None), (None, slice(None), 2, None, 3),
    I1, [2, 0], [], I2, abs(I1).astype(np.uint8), I1.astype(np.int8), np.array(2),
    (I1, 1), (1, I1), (slice(None), I1), (slice(1, 3), I1), (I1, slice(None), 2), (I1, ..., 2),
    (I1, I1), (I2, I2), (I1, I2[:, :1]), (slice(None), I1, I1), (I1, slice(None), I1),
    (I1, slice(None, None, -1), I1), (1, slice(None), I1), (0, I1, slice(2, 5)), (..., I1, 1),
    (I1, None, I1), (None, I1, I1), (slice(None), None, I1, I1), (I1, I1, None), (None, 1, I1),
    (I2, 1, I2), (slice(None, None, 2), I2, slice(None, None, -2)), (np.array(1), slice(None), I1),
    DATA > 20, MASK2, (MASK2, 1), (MASK2, I1[:1]), (slice(None), DATA[0] > 5),
    (1, np.array([True, False, True, True, False])), (..., np.array([True] * 3 + [False] * 3)),
    (np.array([True, False, True, False]), slice(None), I1[:2]), np.zeros((4, 5, 6), bool),
]  # fmt: skip


def key_id(key):
    return " ".join(str(key).split())[:40]


def as_arrays(key):
    """The same key with chainrule's Arrays in place of NumPy's."""
    if isinstance(key, tuple):
        return tuple(as_arrays(part) for part in key)
    return asarray(key) if isinstance(key, np.ndarray) else key


def test_there_are_enough_keys():
    assert len(KEYS) >= 60


@pytest.mark.parametrize("key", KEYS, ids=key_id)
def test_getitem_equals_numpy(key):
    expected = DATA[key]
    for found in (asarray(DATA)[key], asarray(DATA)[as_arrays(key)]):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("key", KEYS, ids=key_id)
def test_set_and_add_equal_numpy(key):
    rng = np.random.default_rng(1)
    shape = DATA[key].shape
    whole, row = rng.normal(size=shape), rng.normal(size=shape[-1:])
    for values in (3.5, whole, row):
        expected = DATA.copy()
        expected[key] = values
        found = asarray(DATA).at[key].set(values)
        np.testing.assert_array_equal(found.numpy(), expected)
        expected = DATA.copy()
        np.add.at(expected, key, values)
        found = asarray(DATA).at[key].add(values)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize("key", KEYS, ids=key_id)
def test_gradients_through_indexing(key):
    rng = np.random.default_rng(2)
    weights = rng.normal(size=DATA[key].shape)
    x = variable(DATA)
    expected = np.zeros_like(DATA)
    np.add.at(expected, key, weights)
    np.testing.assert_allclose(gradients((x[key] * weights).sum(), x).numpy(), expected, rtol=1e-14)
    values = variable(rng.normal(size=DATA[key].shape))
    whole = rng.normal(size=DATA.shape)
    g_x, g_values = gradients((x.at[key].add(values) * whole).sum(), [x, values])
    np.testing.assert_array_equal(g_x.numpy(), whole)
    np.testing.assert_array_equal(g_values.numpy(), whole[key])


def test_gradients_through_set():
    x, v = variable(DATA[0, 0]), variable(np.array([1.0, 2.0]))
    weights = np.arange(1.0, 7.0)
    g_x, g_v = gradients((x.at[1:5:3].set(v) * weights).sum(), [x, v])
    assert g_x.tolist() == [1, 0, 3, 4, 0, 6]
    assert g_v.tolist() == [2, 5]


@pytest.mark.parametrize(
    "key",
    [4, -5, (0, 5), (0, 0, 0, 0), (..., ...), (0, ..., 0, 0, 0), (slice(None), 7),
     np.array([True, False]), (0, MASK2), np.zeros((4, 5, 6, 1), bool)],
    ids=key_id,
)  # fmt: skip
def test_keys_that_do_not_fit(key):
    with pytest.raises(IndexError) as ours:
        asarray(DATA)[key]
    with pytest.raises(IndexError):
        DATA[key]
    assert isinstance(ours.value, IndexRangeError)
    assert "test_array_indexing.py" in ours.value.where


@pytest.mark.parametrize("key", [1.0, "a", True, (0, False), np.array([1.5]), np.array(True)])
def test_keys_that_are_none(key):
    with pytest.raises(DtypeError, match="no index"):
        asarray(DATA)[key]


def test_arrays_of_indices_that_do_not_broadcast():
    with pytest.raises(ShapeError, match="do not broadcast"):
        asarray(DATA)[np.array([0, 1]), np.array([0, 1, 2])]


@pytest.mark.parametrize("index", [[4], [-5], [[0], [9]]])
def test_indices_out_of_range_are_told_with_the_line(index):
    picked = asarray(DATA)[asarray(index)]
    with pytest.raises(IndexError, match="out of range") as caught:
        picked.numpy()
    assert "test_array_indexing.py" in caught.value.where


def test_updates_in_order_of_the_indices():
    x = asarray(np.zeros(3))
    assert x.at[[0, 2, 0]].set([1.0, 2.0, 3.0]).tolist() == [3.0, 0.0, 2.0]
    assert x.at[[0, 2, 0]].add([1.0, 2.0, 3.0]).tolist() == [4.0, 0.0, 2.0]
    assert x.tolist() == [0.0, 0.0, 0.0]
    assert asarray([1, 2]).at[0].set(9).dtype == np.int64
    assert asarray([1, 2]).at[0].set(np.ones((1, 1))).tolist() == [1, 2]


def test_indexing_by_a_traced_position():
    graph = trace(
        lambda x, i: [x[i], x[1, i], x.at[i].set(0.0)], [((4, 5), "float64"), ((), "int64")]
    )
    data = DATA[:, :, 0]
    for i in (0, 3, -1):
        row, element, changed = graph.evaluate([data, np.int64(i)])
        np.testing.assert_array_equal(row, data[i])
        np.testing.assert_array_equal(element, data[1, i])
        assert not changed[i].any()
    with pytest.raises(IndexError):
        graph.evaluate([data, np.int64(4)])


def test_indexing_under_vmap():
    rows = vmap(lambda x, i: x[i])(asarray(DATA), asarray([0, 4, -1, 2]))
    np.testing.assert_array_equal(rows.numpy(), DATA[np.arange(4), [0, 4, -1, 2]])
    wide = asarray(np.zeros((300, 3)))
    small = asarray(np.full(300, 2, np.int8))
    assert vmap(lambda x, i: x.at[i].add(1.0))(wide, small).numpy()[:, 2].sum() == 300


def test_single_elements_of_placeholders_have_the_right_shape():
    x = placeholder((2, 3, 4), dtypes.float32)
    assert x[0].shape == (3, 4)
    assert x[..., -1].shape == (2, 3)
    assert x[:, None, 1:].shape == (2, 1, 2, 4)


# --- interchange ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [*dtypes.SIGNED, *dtypes.UNSIGNED, "float16", "float32", "float64", "bool"], ids=str
)
def test_dlpack_round_trip_with_numpy(dtype):
    x = asarray(np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype))
    assert x.__dlpack_device__() == (1, 0)
    assert not np.shares_memory(np.from_dlpack(x), x.numpy())
    shared = np.from_dlpack(x, copy=False)
    assert shared.dtype == dtype
    assert np.shares_memory(shared, x.numpy())
    assert not shared.flags.writeable
    np.testing.assert_array_equal(shared, x.numpy())
    again = asarray(Exporter(shared))
    assert again.dtype == x.dtype
    np.testing.assert_array_equal(again.numpy(), x.numpy())


class Exporter:
    """Speaks DLPack and nothing else."""

    def __init__(self, data):
        self.data = data

    def __dlpack__(self, **keywords):
        return self.data.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()


def test_numpy_functions_take_arrays():
    x = asarray(np.arange(6.0).reshape(2, 3))
    assert np.sum(np.asarray(x)) == 15
    assert np.array_equal(np.stack([x, x]), np.stack([x.numpy()] * 2))
    np.testing.assert_allclose(x, np.arange(6.0).reshape(2, 3))


@pytest.mark.peer
def test_dlpack_round_trip_with_torch():
    torch = pytest.importorskip("torch")
    x = asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    theirs = torch.from_dlpack(x)
    assert theirs.tolist() == x.tolist()
    theirs[0, 0] = 99.0
    assert x.tolist()[0][0] == 0.0, "a consumer that can write must have got a copy"
    ours = asarray(torch.arange(4, dtype=torch.float64))
    assert ours.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert cr.asarray(torch.ones(2, dtype=torch.int32)).dtype == np.int32
