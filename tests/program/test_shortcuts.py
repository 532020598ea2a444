"""Calls like an earlier one take a short way, and never a wrong one."""

import gc
import weakref
from functools import partial

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import IndexRangeError
from chainrule.program import reuse

pytestmark = pytest.mark.skipif(
    cr.compile(lambda x: x).engine != "compiler", reason="the interpreter takes the long way"
)
RNG = np.random.default_rng(4)
X = RNG.normal(size=(3, 5)).astype("f")


@pytest.fixture(autouse=True)
def seeded():
    cr.random.seed(0)


class Net(nn.Module):
    def __init__(self):
        self.layers = [nn.Linear(5, 4), nn.Linear(4, 2)]
        self.power = 2

    def forward(self, x):
        return cr.tanh(self.layers[1](cr.tanh(self.layers[0](x)))) ** self.power


@pytest.fixture
def counted(monkeypatch):
    """How many calls took the short way."""
    taken = []
    ways = {name: getattr(reuse.Shortcut, name) for name in ("run", "_in_short")}

    def noted(way, shortcut):
        def take(arguments):
            found = way(arguments)
            if found is not None:
                taken.append(shortcut)
            return found

        return take

    def run(self, arguments):
        return noted(partial(ways["run"], self), self)(arguments)

    def in_short(self):
        way = ways["_in_short"](self)
        return way and noted(way, self)

    monkeypatch.setattr(reuse.Shortcut, "run", run)
    monkeypatch.setattr(reuse.Shortcut, "_in_short", in_short)
    return taken


def often(f, *arguments):
    """The first call takes the long way, the second finds the short one, the third takes it."""
    f(*arguments)
    f(*arguments)
    return np.asarray(f(*arguments))


def test_the_third_call_is_short_and_equal(counted):
    model, f = Net(), cr.compile(lambda m, x: m(x))
    expected = model(cr.asarray(X)).numpy()
    for x in (X, cr.asarray(X)):
        np.testing.assert_allclose(often(f, model, x), expected, rtol=1e-5)
    assert len(counted) == 4
    np.testing.assert_allclose(f(model, X * 2).numpy(), model(cr.asarray(X * 2)).numpy(), rtol=1e-4)
    assert len(counted) == 5


def replace_weight(model):
    model.layers[0].weight = model.layers[0].weight * 2


def in_place(model):
    model.layers[0].__dict__["weight"] = model.layers[0].weight * 3


def other_layer(model):
    model.layers[1] = nn.Linear(4, 2)


def more_layers(model):
    model.layers.append(nn.Linear(2, 2))


def other_power(model):
    model.power = 3


def evaluation(model):
    model.eval()


def tied(model):
    model.layers[0].bias = model.layers[0].bias * 0


@pytest.mark.parametrize(
    "change", [replace_weight, in_place, other_layer, more_layers, other_power, evaluation, tied]
)
def test_changes_of_the_model_are_seen(change, counted):
    model, f = Net(), cr.compile(lambda m, x: m(x))
    often(f, model, X)
    assert len(counted) == 1
    change(model)
    np.testing.assert_allclose(f(model, X).numpy(), model(cr.asarray(X)).numpy(), rtol=1e-5)
    assert len(counted) == 1
    for _ in range(2):
        np.testing.assert_allclose(f(model, X).numpy(), model(cr.asarray(X)).numpy(), rtol=1e-5)
    assert len(counted) > 1


def test_two_models_have_short_ways_of_their_own(counted):
    models, f = [Net(), Net()], cr.compile(lambda m, x: m(x))
    for _ in range(4):
        for model in models:
            expected = model(cr.asarray(X)).numpy()
            np.testing.assert_allclose(f(model, X).numpy(), expected, rtol=1e-5)
    assert f.n_compilations == 1
    assert len(counted) == 5
    models[0].power = 2.0
    models[1].layers[0].weight = models[1].layers[0].weight * 2
    for model in models:
        expected = model(cr.asarray(X)).numpy()
        np.testing.assert_allclose(f(model, X).numpy(), expected, rtol=1e-5)


def test_other_shapes_types_and_settings_compile_again():
    model, f = Net(), cr.compile(lambda m, x: m(x))
    often(f, model, X)
    assert f(model, X[:2]).shape == (2, 2)
    assert f.n_compilations == 2
    model.astype(cr.float64)
    assert f(model, X.astype("d")).dtype == np.float64


def test_results_are_not_written_over():
    f = cr.compile(lambda x: x * 2)
    often(f, X)
    first, second = f(X), f(X + 1)
    np.testing.assert_array_equal(first.numpy(), X * 2)
    np.testing.assert_array_equal(second.numpy(), (X + 1) * 2)


def test_one_array_twice_and_two_arrays(counted):
    f = cr.compile(lambda a, b: a + 2 * b)
    a, b = cr.asarray(X), cr.asarray(X + 1)
    for _ in range(3):
        np.testing.assert_allclose(f(a, b).numpy(), 3 * X + 2, rtol=1e-5)
        np.testing.assert_allclose(f(a, a).numpy(), 3 * X, rtol=1e-6)
    assert len(counted) == 1


def test_results_that_are_arguments_take_the_long_way(counted):
    f = cr.compile(lambda x: (x, x + 1))
    x = X.copy()
    f(x)
    same, _ = f(x)
    x[:] = 0
    np.testing.assert_array_equal(same.numpy(), X)
    assert not counted


def test_random_draws_go_on(counted):
    dropout, f = nn.Dropout(0.5), cr.compile(lambda m, x: m(x))
    slow = cr.compile(lambda m, x: m(x), engine="interpreter")

    def draws(g):
        cr.random.seed(3)
        first = [g(dropout, X).numpy() for _ in range(3)]
        cr.random.uniform(cr.random.layer_key(), (2,))  # one drawn outside
        return [*first, g(dropout, X).numpy()]

    for ours, expected in zip(draws(f), draws(slow), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert len(counted) == 2


def test_a_bad_index_is_reported():
    f = cr.compile(lambda x, i: cr.take(x, i, axis=0))
    often(f, X, np.array([0, 2]))
    with pytest.raises(IndexRangeError):
        f(X, np.array([0, 7]))


def test_what_may_change_unseen_takes_the_long_way(counted):
    class Holder(nn.Module):
        def __init__(self):
            self.names = {"a"}

        def forward(self, x):
            return x * len(self.names)

    holder, f = Holder(), cr.compile(lambda m, x: m(x))
    often(f, holder, X)
    holder.names.add("b")
    np.testing.assert_array_equal(f(holder, X).numpy(), X * 2)
    assert not counted


def test_a_model_and_its_old_parameters_are_let_go():
    model, f = Net(), cr.compile(lambda m, x: m(x))
    often(f, model, X)
    old = weakref.ref(model.layers[0].weight)
    replace_weight(model)
    gc.collect()
    assert old() is None
    often(f, model, X)
    current, gone = weakref.ref(model.layers[0].weight), weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert current() is None
