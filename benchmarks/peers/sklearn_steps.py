"""scikit-learn: ``MLPClassifier.partial_fit``, a mini-batch a call."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier  # type: ignore[import-untyped]

from benchmarks.workloads import Network

ACTIVATIONS = {"relu": "relu", "sigmoid": "logistic"}


class PartialFit:
    """The classifier with the given weights put in.

    For two classes it has one output unit instead of two, which takes less work; the first loss is
    the same, as the unit begins with the difference of the two.
    """

    def __init__(
        self, network: Network, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        self.inputs, self.labels = data
        self.model = MLPClassifier(
            network.sizes[1:-1],
            activation=ACTIVATIONS[network.activation],
            solver="adam" if network.optimizer == "adam" else "sgd",
            alpha=0.0,
            batch_size=network.batch,
            learning_rate_init=network.learning_rate,
            momentum=0.9 if network.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
        )
        classes = np.arange(network.sizes[-1])
        self.model.partial_fit(
            self.inputs[: network.batch], self.labels[: network.batch], classes=classes
        )
        weights = network.weights()
        if network.sizes[-1] == 2:
            weight, bias = weights[-1]
            weights[-1] = np.diff(weight), np.diff(bias)
        for number, (weight, bias) in enumerate(weights):
            self.model.coefs_[number][...] = weight
            self.model.intercepts_[number][...] = bias
        del self.model._optimizer  # it has seen a step; the next call makes another

    def order(self, rows: np.ndarray) -> np.ndarray:
        """Sample numbers."""
        return rows

    def run(self, order: np.ndarray) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        losses = []
        for rows in order:
            self.model.partial_fit(self.inputs[rows], self.labels[rows])
            losses.append(self.model.loss_)
        return np.array(losses)
