"""Residual, parallel and squeeze-and-excitation blocks: formulas, names, gradients, messages."""

import numpy as np
import pytest
from layer_agreement import ENGINES, close, normal, with_gradients

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(2)


def blocks():
    return {
        "residual": nn.Residual(nn.Conv2d(2, 2, 3, padding=1)),
        "residual, shortcut": nn.Residual(
            nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Conv2d(2, 3, 1, stride=2), nn.Tanh()
        ),
        "inception": nn.Parallel(
            nn.Conv2d(2, 2, 1),
            nn.Sequential(nn.Conv2d(2, 1, 1), nn.Tanh(), nn.Conv2d(1, 3, 3, padding="same")),
            nn.Sequential(nn.AvgPool2d(3, 1, padding=1), nn.Conv2d(2, 1, 1)),
        ),
        "squeeze": nn.SqueezeExcitation(2, 3, activation=nn.Tanh()),
    }


@pytest.mark.parametrize("name", blocks())
def test_engines_agree_and_gradients_agree_with_differences(name):
    block = blocks()[name]
    x = normal(2, 2, 5, 6)
    cotangent = normal(*block(x).shape, seed=5)
    (y, grads), (again, others) = (
        cr.compile(with_gradients, engine=engine)(block, x, cotangent) for engine in ENGINES
    )
    close(again, y, "the output", 1e-5)
    close(others[1], grads[1], "the gradient of the input", 1e-5)
    for path in grads[0]:
        close(others[0][path], grads[0][path], f"the gradient of {path}", 1e-5)
    x = x[:1, :, :3, :4].astype(np.float64)
    block.astype("float64")
    weights = cotangent[:1, :, : block(x).shape[2], : block(x).shape[3]]
    cr.check_gradients(lambda m, x: (m(x) * weights).sum(), (block, x))


def test_what_blocks_compute():
    found, x = blocks(), normal(2, 2, 5, 6)
    plain, changed, inception, squeeze = found.values()
    close(plain(x), plain.branch(x) + x, "identity", 1e-6)
    wanted = np.tanh(changed.branch(x).numpy() + changed.shortcut(x).numpy())
    close(changed(x), wanted, "shortcut", 1e-6)
    parts = [layer(x).numpy() for layer in inception]
    close(inception(x), np.concatenate(parts, axis=1), "joined", 1e-6)
    mean = x.mean(axis=(2, 3), keepdims=True)
    gates = cr.sigmoid(squeeze.fc2(np.tanh(squeeze.fc1(mean).numpy()))).numpy()
    close(squeeze(x), x * gates, "weighed", 1e-6)


def test_names_of_their_state():
    found = blocks()
    assert sorted(found["residual, shortcut"].state_dict()) == [
        "branch.bias",
        "branch.weight",
        "shortcut.bias",
        "shortcut.weight",
    ]
    shapes = {name: value.shape for name, value in found["squeeze"].state_dict().items()}
    assert shapes == {
        "fc1.weight": (3, 2, 1, 1),
        "fc1.bias": (3,),
        "fc2.weight": (2, 3, 1, 1),
        "fc2.bias": (2,),
    }
    named = nn.Parallel({"one": nn.Linear(2, 1), "two": nn.Linear(2, 3)})
    assert [path for path, _ in named.named_parameters()][::2] == ["one.weight", "two.weight"]
    assert nn.Parallel(nn.Linear(2, 1), nn.Linear(2, 3), dim=-1)(normal(4, 5, 2)).shape == (4, 5, 4)


def test_a_residual_never_broadcasts():
    with pytest.raises(ShapeError, match="give different shapes") as raised:
        nn.Sequential({"block": nn.Residual(nn.Conv2d(3, 1, 3, padding=1))})(normal(2, 3, 4, 4))
    assert "layer block" in str(raised.value)
    assert "shortcut=" in str(raised.value)


def test_branches_that_do_not_fit_are_told():
    with pytest.raises(ShapeError, match="can not be joined along axis 1"):
        nn.Parallel(nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 3))(normal(2, 1, 5))
    with pytest.raises(ShapeError, match="can not be joined along axis 3"):
        nn.Parallel(nn.Identity(), dim=3)(normal(2, 1, 5))
    with pytest.raises(ArgumentError, match="at least one layer"):
        nn.Parallel()
    with pytest.raises(ArgumentError, match="squeeze_channels"):
        nn.SqueezeExcitation(4, 0)
