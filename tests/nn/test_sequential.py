"""``Sequential``: order, names, indexing, and what it refuses."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, IndexRangeError


def layers():
    return [nn.Linear(3, 4), nn.Identity(), nn.Linear(4, 2)]


def test_layers_run_in_order():
    a, b, c = layers()
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("f")
    np.testing.assert_array_equal(nn.Sequential(a, b, c)(x).numpy(), c(b(a(x))).numpy())


def test_indexing_slicing_and_iteration():
    parts = layers()
    model = nn.Sequential(*parts)
    assert len(model) == 3
    assert model[0] is parts[0]
    assert model[-1] is parts[2]
    assert model["2"] is parts[2]
    assert list(model) == parts
    tail = model[1:]
    assert list(tail) == parts[1:]
    assert [path for path, _ in tail.named_parameters()] == ["2.weight", "2.bias"]
    tail.append(nn.Identity())
    assert len(tail) == 3
    model[1] = nn.Flatten()
    assert repr(model[1]) == "Flatten(start_dim=1, end_dim=-1)"
    with pytest.raises(IndexRangeError, match="no layer 3"):
        model[3]
    with pytest.raises(KeyError):
        model["head"]


def test_names_may_be_given():
    a, b, c = layers()
    model = nn.Sequential({"first": a, "rest": nn.Sequential(b, c)})
    assert [path for path, _ in model.named_parameters()][2:] == ["rest.1.weight", "rest.1.bias"]
    with pytest.raises(ArgumentError, match="without dots"):
        nn.Sequential({"a.b": a})


def test_extend_and_append_return_the_model():
    a, b, c = layers()
    model = nn.Sequential().append(a).extend([b, c])
    assert list(model) == [a, b, c]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [(nn.Identity, r"nn\.Identity\("), (cr.tanh, "nn.ReLU"), (3, "int 3")],
)
def test_what_is_no_module_is_refused(wrong, hint):
    with pytest.raises(ArgumentError, match=hint):
        nn.Sequential(nn.Linear(3, 4), wrong)


def test_an_empty_one_returns_its_input():
    assert nn.Sequential()(3.0) == 3.0
    with pytest.raises(ArgumentError, match="only input"):
        nn.Sequential()(1.0, 2.0)


@pytest.mark.peer
def test_forward_gradients_and_state_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    peer = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(6, 5), torch.nn.Identity(), torch.nn.Linear(5, 2)
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Identity(), nn.Linear(5, 2))
    assert list(model.state_dict()) == list(peer.state_dict())
    model.load_state_dict(peer.state_dict())
    x = np.random.default_rng(1).normal(size=(7, 2, 3)).astype("f")
    out = peer(torch.from_numpy(x))
    weight = np.random.default_rng(2).normal(size=(7, 2)).astype("f")
    (out * torch.from_numpy(weight)).sum().backward()
    np.testing.assert_allclose(model(x).numpy(), out.detach().numpy(), rtol=1e-5, atol=1e-6)
    grads = cr.grad(lambda m: (m(x) * weight).sum())(model)
    for path, parameter in peer.named_parameters():
        np.testing.assert_allclose(
            grads[path].numpy(), parameter.grad.numpy(), rtol=1e-4, atol=1e-5
        )
    back = {path: torch.from_numpy(v.numpy().copy()) for path, v in model.state_dict().items()}
    peer.load_state_dict(back)
