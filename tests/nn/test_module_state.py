"""State dicts: what they hold, loading all or nothing, and messages that name every entry."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import StateError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(5)


def model(hidden=4):
    return nn.Sequential(nn.Linear(3, hidden), nn.Linear(hidden, 2))


def values(net):
    return {path: value.numpy().copy() for path, value in net.state_dict().items()}


def test_a_state_dict_does_not_change_with_the_model():
    net = model()
    state, before = net.state_dict(), values(net)
    for path, value in list(net.named_parameters()):
        net.assign({path: value * 2.0})
    assert all((state[path].numpy() == before[path]).all() for path in state)
    assert not (net[0].weight.numpy() == before["0.weight"]).any()
    net.load_state_dict(state)
    assert all((values(net)[path] == before[path]).all() for path in state)


def test_two_models_loaded_from_one_state_are_not_tied():
    state = model().state_dict()
    one, other = model(), model()
    one.load_state_dict(state)
    other.load_state_dict(state)
    assert one[0].weight.node is not other[0].weight.node
    assert one[0].weight.node.tracked
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("f")
    both = cr.grad(lambda a, b: (a(x) * b(x) ** 2).sum(), argnums=(0, 1))
    assert [list(grads) for grads in both(one, other)] == [list(state), list(state)]


def test_every_fault_is_listed_with_the_nearest_name_and_nothing_is_loaded():
    net = model()
    before = values(net)
    given = net.state_dict()
    given["0.weigth"] = given.pop("0.weight")
    given["1.weight"] = given["1.weight"].numpy().T
    given["0.bias"] = np.arange(4) + 1.0
    with pytest.raises(StateError) as raised:
        net.load_state_dict(given)
    message = str(raised.value)
    for part in (
        "nothing was loaded",
        "missing (1):",
        "0.weight (given: 0.weigth)",
        "unexpected (1):",
        "0.weigth (the model has: 0.weight)",
        "unfit (1):",
        "1.weight: expected shape (2, 4), got (4, 2); it is the transpose",
    ):
        assert part in message
    assert all((values(net)[path] == before[path]).all() for path in before)


def test_not_strict_passes_over_what_one_side_lacks():
    net = model()
    result = net.load_state_dict({"0.bias": np.arange(4.0), "head.bias": [1.0]}, strict=False)
    assert result.missing == ["0.weight", "1.weight", "1.bias"]
    assert result.unexpected == ["head.bias"]
    assert net[0].bias.tolist() == [0, 1, 2, 3]
    with pytest.raises(StateError, match="expected shape"):
        net.load_state_dict({"0.bias": np.arange(5.0)}, strict=False)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (np.array([0.1, 2.0]), True),  # rounded
        (np.array([1, 2]), True),
        (np.array([True, False]), True),
        (np.array([1e300, 0.0]), False),
        (np.array([2**24 + 1, 0]), False),
        (np.array([np.inf, np.nan]), True),
    ],
    ids=str,
)
def test_casts_round_but_do_not_change_the_meaning(value, good):
    layer = nn.Linear(3, 2)
    if good:
        layer.load_state_dict({"bias": value}, strict=False)
        np.testing.assert_array_equal(layer.bias.numpy(), value.astype(np.float32))
        assert layer.bias.dtype == np.float32
    else:
        with pytest.raises(StateError, match=r"expected float32, got (int|float)64"):
            layer.load_state_dict({"bias": value}, strict=False)


def test_a_float_does_not_become_a_whole_number():
    class Counter(nn.Module):
        def __init__(self):
            self.count = cr.zeros((), dtype=cr.int64)

    with pytest.raises(StateError, match="expected int64, got float64"):
        Counter().load_state_dict({"count": np.float64(1.0)})


def tied():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    return net


def test_ties_are_kept_and_one_path_is_enough():
    net, value = tied(), np.arange(9.0).reshape(3, 3)
    for given in ({"0.weight": value}, {"1.weight": value}, {"0.weight": value, "1.weight": value}):
        net.load_state_dict(given)
        assert net[0].weight.node is net[1].weight.node
        np.testing.assert_array_equal(net[1].weight.numpy(), value)
    with pytest.raises(
        StateError, match=r"1\.weight: tied to 0\.weight, but the two values differ"
    ):
        net.load_state_dict({"0.weight": value, "1.weight": value + 1})
    np.testing.assert_array_equal(net[0].weight.numpy(), value)


def test_loading_draws_nothing():
    big = nn.Linear(62_500, 62_500)
    with pytest.raises(StateError, match="expected shape"):
        big.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.zeros(62_500)})
    assert not big.weight.node.is_drawn


def test_frozen_parameters_stay_frozen():
    net = model().freeze()
    net.load_state_dict(model().state_dict())
    assert not list(net.named_parameters(trainable_only=True))


def test_a_caller_may_go_on_writing_to_his_arrays():
    layer, bias = nn.Linear(3, 2), np.array([1.0, 2.0], np.float32)
    layer.load_state_dict({"bias": bias}, strict=False)
    bias[:] = 7
    assert layer.bias.tolist() == [1, 2]
