"""``Embedding``: look-up, range checks, the padding row."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, DtypeError, IndexRangeError
from chainrule.program import compile


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(8)


def test_rows_are_looked_up():
    table = nn.Embedding(7, 3)
    rows = np.array([[0, 6, 2], [2, 2, 1]], np.int32)
    np.testing.assert_array_equal(table(rows).numpy(), table.weight.numpy()[rows])
    assert table(4).shape == (3,)
    assert table(np.zeros((0, 2), np.int64)).shape == (0, 2, 3)


def test_rows_begin_as_standard_normal():
    values = nn.Embedding(500, 200).weight.numpy()
    assert abs(values.mean()) < 0.02
    assert values.std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("wrong", [7, -1])
def test_an_index_out_of_range_is_told_at_once_and_in_programs(wrong):
    model = nn.Sequential(nn.Embedding(7, 3))
    rows = np.array([[0, 1], [wrong, 2]])
    with pytest.raises(IndexRangeError, match=rf"no row {wrong}") as raised:
        model(rows)
    assert f"{wrong} at [1, 0]" in str(raised.value)
    assert "0 to 6" in str(raised.value)
    assert "layer 0" in str(raised.value)
    with pytest.raises(IndexRangeError, match=f"{wrong}.*[^$]*layer 0"):
        compile(lambda m, x: m(x))(model, rows)


def test_indices_are_integers():
    with pytest.raises(DtypeError, match=r"astype\('int64'\)"):
        nn.Embedding(7, 3)(np.array([0.0, 1.0]))


def test_gradients_of_repeated_rows_add_up():
    table, rows = nn.Embedding(5, 2), np.array([1, 3, 1])
    cotangent = np.random.default_rng(0).normal(size=(3, 2)).astype("f")
    grad = cr.grad(lambda m: (m(rows) * cotangent).sum())(table)["weight"].numpy()
    exact = np.zeros((5, 2), "f")
    np.add.at(exact, rows, cotangent)
    np.testing.assert_allclose(grad, exact, rtol=1e-6)


@pytest.mark.parametrize("padding", [2, -3])
def test_the_padding_row_begins_as_zeros_and_rests(padding):
    table, rows = nn.Embedding(5, 2, padding_idx=padding), np.array([[2, 1], [2, 4]])
    assert (table.weight.numpy()[2] == 0).all()
    assert (np.delete(table.weight.numpy(), 2, axis=0) != 0).all()
    grad = cr.grad(lambda m: (m(rows) * 1.5).sum())(table)["weight"].numpy()
    np.testing.assert_array_equal(grad[:, 0], [0, 1.5, 0, 0, 1.5])
    assert repr(table) == "Embedding(5, 2, padding_idx=2)"
    with pytest.raises(ArgumentError, match="padding_idx names no row"):
        nn.Embedding(5, 2, padding_idx=5)


@pytest.mark.peer
@pytest.mark.parametrize("padding", [None, 1])
def test_it_agrees_with_pytorch(padding):
    torch = pytest.importorskip("torch")
    ours = nn.Embedding(6, 4, padding_idx=padding)
    peer = torch.nn.Embedding(6, 4, padding_idx=padding)
    assert repr(ours) == repr(peer)
    ours.load_state_dict(peer.state_dict())
    rows = np.array([[1, 5, 0], [5, 5, 1]])
    cotangent = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f")
    out = peer(torch.from_numpy(rows))
    (out * torch.from_numpy(cotangent)).sum().backward()
    np.testing.assert_array_equal(ours(rows).numpy(), out.detach().numpy())
    grad = cr.grad(lambda m: (m(rows) * cotangent).sum())(ours)["weight"].numpy()
    np.testing.assert_allclose(grad, peer.weight.grad.numpy(), rtol=1e-6)
