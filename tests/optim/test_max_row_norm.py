"""The max-norm constraint of a parameter group."""

import numpy as np
import pytest

from chainrule import nn, optim
from chainrule import random as cr_random
from chainrule.array import asarray
from chainrule.autodiff import value_and_grad
from chainrule.errors import ArgumentError
from chainrule.optim.clipping import shorten_rows
from chainrule.program import ENGINES, compile

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(20, 6)).astype("f"), RNG.normal(size=(20, 3)).astype("f")


def trained(optimizer, engine, steps=4):
    cr_random.seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))

    def step(model, optimizer, x, y):
        loss, gradients = value_and_grad(lambda m: nn.functional.mse_loss(m(x), y))(model)
        optimizer.update(model, gradients)
        return loss

    program = compile(step, engine=engine)
    for _ in range(steps):
        program(model, optimizer, asarray(X), asarray(Y))
    return program, model


def norms(model, layer):
    return np.linalg.norm(model[layer].weight.numpy(), axis=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_of_the_groups_parameters_never_exceed_the_limit(engine):
    make = lambda *groups: optim.Momentum(0.5, groups=groups)  # noqa: E731
    _, free = trained(make(), engine)
    _, held = trained(make(optim.group("0.weight", max_row_norm=0.5)), engine)
    assert norms(free, 0).max() > 0.6
    assert norms(held, 0).max() <= 0.5 * (1 + 1e-6)
    assert norms(held, 2).max() > 0.6, "another layer is left alone"


def test_rows_within_the_limit_stay_as_they_are():
    weight = RNG.normal(size=(4, 2, 3)).astype("f")
    weight[2] = 0.0
    length = np.sqrt((weight**2).sum(axis=(1, 2)))
    limit = float(np.median(length))
    shortened = shorten_rows(asarray(weight), limit).numpy()
    inside = length <= limit
    np.testing.assert_array_equal(shortened[inside], weight[inside])
    np.testing.assert_allclose(
        np.sqrt((shortened[~inside] ** 2).sum(axis=(1, 2))), limit, rtol=1e-6
    )


def test_biases_have_no_rows_and_a_new_limit_compiles_nothing():
    optimizer = optim.SGD(0.1, groups=[optim.group("*", max_row_norm=0.4)])
    program, model = trained(optimizer, ENGINES[0])
    assert norms(model, 0).max() <= 0.4 * (1 + 1e-6)
    saved = optimizer.state_dict()
    assert saved["hyperparameters"]["groups.0.max_row_norm"] == 0.4
    other = optim.SGD(0.1, groups=[optim.group("*", max_row_norm=0.2)])
    other.initialise(model)
    before = program.n_compilations
    program(model, other, asarray(X), asarray(Y))
    assert program.n_compilations == before
    assert norms(model, 0).max() <= 0.2 * (1 + 1e-6)


def test_a_limit_is_a_positive_number_of_a_group():
    with pytest.raises(ArgumentError, match="max_row_norm"):
        optim.SGD(0.1, groups=[optim.group("*", max_row_norm=0.0)])
