"""Ten steps on a least-squares problem and on Rosenbrock's valley, beside PyTorch in float64."""

import copy

import numpy as np
import pytest

from chainrule import optim
from chainrule.array import variable
from chainrule.autodiff import grad

pytestmark = pytest.mark.peer

# ours, PyTorch's class, PyTorch's settings
CASES = {
    "sgd": (optim.SGD(0.01), "SGD", {"lr": 0.01}),
    "sgd momentum": (optim.SGD(0.01, 0.9), "SGD", {"lr": 0.01, "momentum": 0.9}),
    "sgd dampening decay": (
        optim.SGD(0.01, 0.9, 0.3, 0.1),
        "SGD",
        {"lr": 0.01, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    ),
    "sgd nesterov": (
        optim.SGD(0.01, 0.9, nesterov=True),
        "SGD",
        {"lr": 0.01, "momentum": 0.9, "nesterov": True},
    ),
    "momentum": (optim.Momentum(0.01, 0.8), "SGD", {"lr": 0.01, "momentum": 0.8}),
    "nesterov": (optim.Nesterov(0.01, 0.8), "SGD", {"lr": 0.01, "momentum": 0.8, "nesterov": True}),
    "adagrad": (
        optim.AdaGrad(0.1, 0.05, 0.01, initial_accumulator=0.2),
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.01, "initial_accumulator_value": 0.2},
    ),
    "adagrad defaults": (optim.AdaGrad(), "Adagrad", {}),
    "adadelta": (optim.AdaDelta(weight_decay=0.1), "Adadelta", {"weight_decay": 0.1}),
    "rmsprop": (optim.RMSProp(), "RMSprop", {}),
    "rmsprop centered": (
        optim.RMSProp(0.02, momentum=0.5, centered=True, weight_decay=0.1),
        "RMSprop",
        {"lr": 0.02, "momentum": 0.5, "centered": True, "weight_decay": 0.1},
    ),
    "adam": (optim.Adam(0.05), "Adam", {"lr": 0.05}),
    "adam defaults": (optim.Adam(), "Adam", {}),
    "adam decay": (
        optim.Adam(0.05, (0.8, 0.95), 1e-5, 0.1),
        "Adam",
        {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1},
    ),
    "adamw": (optim.AdamW(0.05), "AdamW", {"lr": 0.05}),
    "amsgrad": (
        optim.AMSGrad(0.05, (0.5, 0.6), weight_decay=0.1),
        "Adam",
        {"lr": 0.05, "betas": (0.5, 0.6), "weight_decay": 0.1, "amsgrad": True},
    ),
    "adamax": (optim.Adamax(weight_decay=0.1), "Adamax", {"weight_decay": 0.1}),
    "nadam": (optim.NAdam(weight_decay=0.1), "NAdam", {"weight_decay": 0.1}),
    "nadam decoupled": (
        optim.NAdam(0.05, weight_decay=0.1, decoupled_weight_decay=True),
        "NAdam",
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "radam": (optim.RAdam(0.05, weight_decay=0.1), "RAdam", {"lr": 0.05, "weight_decay": 0.1}),
    "radam decoupled": (
        optim.RAdam(0.05, weight_decay=0.1, decoupled_weight_decay=True),
        "RAdam",
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "rprop": (optim.Rprop(), "Rprop", {}),
    "rprop limits": (
        optim.Rprop(0.1, (0.3, 1.5), (0.05, 0.2)),
        "Rprop",
        {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (0.05, 0.2)},
    ),
}

RNG = np.random.default_rng(7)
INPUTS, TARGETS = RNG.normal(size=(12, 4)), RNG.normal(size=(12, 2))
WEIGHT, BIAS = RNG.normal(size=(4, 2)), RNG.normal(size=2)


def least_squares(p, inputs, targets):
    return ((inputs @ p["w"] + p["b"] - targets) ** 2).mean()


def rosenbrock(p, inputs, targets):
    x, y = p["w"][0], p["w"][1]
    return 0.01 * ((1 - x) ** 2 + 100 * (y - x * x) ** 2) + (p["b"] ** 2).sum()


PROBLEMS = {
    "least squares": (least_squares, {"w": WEIGHT, "b": BIAS}),
    "rosenbrock": (rosenbrock, {"w": np.array([-1.2, 1.0]), "b": np.array([0.5])}),
}


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # NAdam keeps its product in the default type
    yield torch
    torch.set_default_dtype(before)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("case", CASES)
def test_ten_steps(case, problem, torch):
    template, kind, settings = CASES[case]
    loss, start = PROBLEMS[problem]
    theirs = {name: torch.tensor(x, requires_grad=True) for name, x in start.items()}
    peer = getattr(torch.optim, kind)(theirs.values(), **settings)
    ours = {name: variable(x) for name, x in start.items()}
    optimizer = copy.deepcopy(template)
    inputs, targets = torch.tensor(INPUTS), torch.tensor(TARGETS)
    gradients = grad(lambda p: loss(p, INPUTS, TARGETS))
    for _ in range(10):
        peer.zero_grad()
        loss(theirs, inputs, targets).backward()
        peer.step()
        optimizer.update(ours, gradients(ours))
        for name, x in ours.items():
            np.testing.assert_allclose(x.numpy(), theirs[name].detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_by_the_global_norm(torch, max_norm):
    given = {"w": RNG.normal(size=(3, 4)), "b": RNG.normal(size=4)}
    tensors = [torch.tensor(np.zeros_like(x), requires_grad=True) for x in given.values()]
    for tensor, x in zip(tensors, given.values(), strict=True):
        tensor.grad = torch.tensor(x)
    norm = torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    clipped, ours = optim.clip_by_global_norm(given, max_norm)
    np.testing.assert_allclose(ours.numpy(), norm.numpy(), rtol=1e-14)
    for tensor, x in zip(tensors, clipped.values(), strict=True):
        np.testing.assert_allclose(x.numpy(), tensor.grad.numpy(), rtol=1e-14)


def test_lbfgs_reaches_the_same_minimum(torch):
    theirs = {
        name: torch.tensor(x, requires_grad=True) for name, x in {"w": WEIGHT, "b": BIAS}.items()
    }
    peer = torch.optim.LBFGS(theirs.values(), max_iter=200, line_search_fn="strong_wolfe",
                             tolerance_grad=1e-12, tolerance_change=1e-16)  # fmt: skip
    inputs, targets = torch.tensor(INPUTS), torch.tensor(TARGETS)

    def closure():
        peer.zero_grad()
        loss = least_squares(theirs, inputs, targets)
        loss.backward()
        return loss

    peer.step(closure)
    ours = {"w": variable(WEIGHT), "b": variable(BIAS)}
    optimizer = optim.LBFGS(tolerance_gradient=1e-12, tolerance_change=1e-16)
    optimizer.minimize(lambda p: least_squares(p, INPUTS, TARGETS), ours)
    # the loss is flat to rounding around its minimum: both stop within about √ε of it
    for name, x in ours.items():
        np.testing.assert_allclose(x.numpy(), theirs[name].detach().numpy(), atol=1e-7)
