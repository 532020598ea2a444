"""PyTorch: the usual loop, and the whole step under ``torch.compile``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.workloads import Network, Product

ACTIVATIONS = {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid}


def build_model(network: Network) -> torch.nn.Sequential:
    """The network with its given weights."""
    layers: list[torch.nn.Module] = []
    for number, (weight, bias) in enumerate(network.weights()):
        if number:
            layers.append(ACTIVATIONS[network.activation]())
            if network.dropout:
                layers.append(torch.nn.Dropout(network.dropout))
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
        layers.append(linear)
    return torch.nn.Sequential(*layers)


class Eager:
    """Step after step from Python, with PyTorch's fused optimizers."""

    def __init__(
        self, network: Network, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        torch.set_num_threads(n_threads)
        torch.manual_seed(network.seed)
        self.inputs, self.labels = (torch.from_numpy(x) for x in data)
        self.model = build_model(network)
        parameters, rate = self.model.parameters(), network.learning_rate
        if network.optimizer == "adam":
            self.optimizer: Any = torch.optim.Adam(parameters, rate, fused=True)
        else:
            momentum = 0.9 if network.optimizer == "momentum" else 0.0
            self.optimizer = torch.optim.SGD(parameters, rate, momentum=momentum, fused=True)

    def order(self, rows: np.ndarray) -> torch.Tensor:
        """Sample numbers as a tensor."""
        return torch.from_numpy(rows)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step on the samples of ``rows``; its loss."""
        x = self.inputs.index_select(0, rows)
        labels = self.labels.index_select(0, rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.model(x), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def run(self, order: torch.Tensor) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        return torch.stack([self.step(rows) for rows in order.unbind()]).numpy()


class Compiled:
    """Gather, forward, backward and update as one function under ``torch.compile``."""

    def __init__(
        self, network: Network, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        torch.set_num_threads(n_threads)
        torch.manual_seed(network.seed)
        self.network = network
        self.inputs, self.labels = (torch.from_numpy(x) for x in data)
        self.model = build_model(network)
        self.parameters = {k: p.detach() for k, p in self.model.named_parameters()}
        self.first = {k: torch.zeros_like(p) for k, p in self.parameters.items()}
        self.second = {k: torch.zeros_like(p) for k, p in self.parameters.items()}
        self.count = torch.zeros(())
        self.compiled = torch.compile(self._step, fullgraph=True, dynamic=False)

    def _loss(
        self, parameters: dict[str, torch.Tensor], x: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        scores = torch.func.functional_call(self.model, parameters, (x,))
        return functional.cross_entropy(scores, labels)

    def _step(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.inputs.index_select(0, rows)
        labels = self.labels.index_select(0, rows)
        gradients, loss = torch.func.grad_and_value(self._loss)(self.parameters, x, labels)
        self.count += 1
        for name, gradient in gradients.items():
            self._update(name, gradient)
        return loss

    def _update(self, name: str, gradient: torch.Tensor) -> None:
        parameter, rate = self.parameters[name], self.network.learning_rate
        if self.network.optimizer == "sgd":
            parameter.sub_(rate * gradient)
            return
        first = self.first[name]
        if self.network.optimizer == "momentum":
            first.mul_(0.9).add_(gradient)
            parameter.sub_(rate * first)
            return
        second = self.second[name]
        first.mul_(0.9).add_(0.1 * gradient)
        second.mul_(0.999).add_(0.001 * gradient * gradient)
        root = (second / (1 - 0.999**self.count)).sqrt() + 1e-8
        parameter.sub_(rate / (1 - 0.9**self.count) * first / root)

    def order(self, rows: np.ndarray) -> torch.Tensor:
        """Sample numbers as a tensor."""
        return torch.from_numpy(rows)

    def run(self, order: torch.Tensor) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        with torch.no_grad():
            return torch.stack([self.compiled(rows) for rows in order.unbind()]).numpy()


class MatrixProducts:
    """``torch.mm`` into a tensor that exists."""

    def __init__(self, product: Product, n_threads: int, engine: Any) -> None:
        torch.set_num_threads(n_threads)
        left, right = (torch.from_numpy(x) for x in product.operands())
        self.left = left.T if product.transposed else left
        self.right = right
        self.out = torch.empty(product.m, product.n)

    def run(self, count: int) -> np.ndarray:
        """Compute the product ``count`` times; the last result."""
        for _ in range(count):
            torch.mm(self.left, self.right, out=self.out)
        return self.out.numpy()
