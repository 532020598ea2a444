"""chainrule: a step written by hand, and ``run_steps`` over the rows of an order."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.workloads import Network, Product
from chainrule import nn, optim

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def build_model(network: Network) -> nn.Sequential:
    """The network with its given weights."""
    layers: list[nn.Module] = []
    weights = network.weights()
    for number, (m, n) in enumerate(zip(network.sizes, network.sizes[1:], strict=False)):
        if number:
            layers.append(ACTIVATIONS[network.activation]())
            if network.dropout:
                layers.append(nn.Dropout(network.dropout))
        linear = nn.Linear(m, n)
        linear.weight = cr.asarray(np.ascontiguousarray(weights[number][0].T))
        linear.bias = cr.asarray(weights[number][1])
        layers.append(linear)
    return nn.Sequential(*layers)


def build_optimizer(network: Network) -> optim.Optimizer:
    """The optimizer with its given rate."""
    rate = network.learning_rate
    if network.optimizer == "adam":
        return optim.Adam(rate)
    return optim.Momentum(rate, 0.9) if network.optimizer == "momentum" else optim.SGD(rate)


def step(model: nn.Module, optimizer: optim.Optimizer, x: Any, labels: Any) -> Any:
    """One step; its loss."""

    def loss_of(model: nn.Module) -> Any:
        return nn.functional.cross_entropy(model(x), labels)

    loss, gradients = cr.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


class Native:
    """Whole chunks of steps in one call."""

    def __init__(
        self,
        network: Network,
        data: tuple[np.ndarray, np.ndarray],
        n_threads: int,
        engine: str | None,
    ) -> None:
        cr.random.seed(network.seed)
        self.data, self.engine = data, engine
        self.model, self.optimizer = build_model(network), build_optimizer(network)

    def order(self, rows: np.ndarray) -> np.ndarray:
        """Sample numbers."""
        return rows

    def run(self, order: np.ndarray) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        state = [self.model, self.optimizer]
        return cr.run_steps(step, state, self.data, order, engine=self.engine)


class MatrixProducts:
    """The product as a step of its own, the operands its state, many in one call."""

    def __init__(self, product: Product, n_threads: int, engine: str | None) -> None:
        left, right = (cr.asarray(x) for x in product.operands())
        self.state = {"left": left, "right": right, "out": cr.zeros((product.m, product.n))}
        self.engine = engine

        def multiply(state: dict[str, Any], _: Any) -> Any:
            left = state["left"].T if product.transposed else state["left"]
            state["out"] = left @ state["right"]
            # not of the result: what the loss depends on is written only once that is known finite
            return state["left"][0, 0]

        self.multiply = multiply

    def run(self, count: int) -> np.ndarray:
        """Compute the product ``count`` times; the last result."""
        order = np.zeros((count, 1), np.int64)
        nothing = [np.zeros(1, np.float32)]
        cr.run_steps(self.multiply, [self.state], nothing, order, engine=self.engine)
        return self.state["out"].numpy()
