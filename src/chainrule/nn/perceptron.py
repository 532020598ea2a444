"""Rosenblatt's perceptron: threshold units with a learning rule of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array, asarray
from chainrule.errors import ArgumentError, DataError, ShapeError
from chainrule.nn import init
from chainrule.nn.checks import floating_input, positive_integer
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops.origin import here


class Perceptron(Module):
    """Units that say +1 or −1: y = sign(W x + b), +1 at 0.

    Their derivative is zero everywhere, so ``fit`` learns by Rosenblatt's rule: after each sample
    of target t, w ← w + η (t − y) x and b ← b + η (t − y). If some line (plane, …) separates the
    classes the rule finds one; if none does, as for XOR, it never comes to rest.

    Args:
        in_features: Inputs, at least 1.
        out_features: Units, at least 1; each learns a column of the targets.

    Attributes: ``weight`` (out_features, in_features) and ``bias`` (out_features,), zeros at
    first; ``converged``: whether the last ``fit`` ended with an epoch without errors.

    Shape: input (..., in_features) → output (..., out_features), ±1.

    Reference: Rosenblatt, "The perceptron: a probabilistic model for information storage and
    organization in the brain", 1958; convergence: Novikoff, 1962.

    >>> from chainrule import nn
    >>> unit = nn.Perceptron(2)
    >>> unit.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [-1, -1, -1, 1], epochs=20)[-1]
    0
    >>> unit([1, 1])
    Array([1.], float32)
    """

    weight: Array
    bias: Array

    def __init__(self, in_features: int, out_features: int = 1) -> None:
        self.in_features = positive_integer(in_features, "Perceptron: in_features")
        self.out_features = positive_integer(out_features, "Perceptron: out_features")
        self.weight = Parameter(init.zeros((self.out_features, self.in_features)))
        self.bias = Parameter(init.zeros(self.out_features))
        self.converged = False

    def forward(self, x: Any) -> Array:
        """Shape: (..., in_features) → (..., out_features)."""
        value = floating_input(x, self.weight, self)
        if not value.ndim or value.shape[-1] != self.in_features:
            raise ShapeError(
                f"{self!r} does not fit an input of shape {value.shape}",
                expected=f"(..., {self.in_features})",
                got=str(value.shape),
                where=str(here()),
            )
        z = ops.tensordot(value, self.weight, axes=((value.ndim - 1,), (1,))) + self.bias
        one = ops.ones_like(z)
        return ops.where(z >= 0, one, -one)

    def fit(self, x: Any, targets: Any, epochs: int = 100, learning_rate: float = 1.0) -> list[int]:
        """Learn by Rosenblatt's rule, sample by sample in the given order.

        Ends early after an epoch without errors.

        Args:
            x: Samples, (n, in_features).
            targets: ±1, (n,) or (n, out_features).
            epochs: Most passes over the samples, at least 1.
            learning_rate: η, above 0.

        Returns:
            For each epoch the number of wrong outputs, counted before their corrections.

        Raises:
            ShapeError: Samples and targets do not fit one another or the layer.
            DataError: Targets other than ±1, or samples that are not finite.
        """
        positive_integer(epochs, "Perceptron.fit: epochs")
        if not learning_rate > 0:
            raise ArgumentError(
                "Perceptron.fit: learning_rate must be positive",
                expected="a number above 0",
                got=repr(learning_rate),
                where=str(here()),
            )
        samples, wanted = self._check_data(x, targets)
        weight, bias = (p.numpy().astype(np.float64) for p in (self.weight, self.bias))
        history: list[int] = []
        while len(history) < epochs and (not history or history[-1]):
            errors = 0
            for sample, target in zip(samples, wanted, strict=True):
                output = np.where(weight @ sample + bias >= 0, 1.0, -1.0)
                correction = learning_rate * (target - output)
                errors += int(np.count_nonzero(correction))
                weight += np.outer(correction, sample)
                bias += correction
            history.append(errors)
        self.weight, self.bias = weight, bias  # type: ignore[assignment]
        self.converged = history[-1] == 0
        return history

    def _check_data(self, x: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
        samples = asarray(x).numpy().astype(np.float64)
        wanted = asarray(targets).numpy().astype(np.float64)
        if wanted.ndim == 1:
            wanted = wanted[:, None]
        shapes = (len(samples), self.in_features), (len(samples), self.out_features)
        if samples.ndim != 2 or not len(samples) or (samples.shape, wanted.shape) != shapes:
            raise ShapeError(
                "Perceptron.fit: samples and targets do not fit",
                expected=f"(n, {self.in_features}) and (n, {self.out_features})",
                got=f"{samples.shape} and {wanted.shape}",
                where=str(here()),
            )
        if not np.isfinite(samples).all():
            raise DataError("Perceptron.fit: a sample holds NaN or infinity", where=str(here()))
        if not np.isin(wanted, (-1.0, 1.0)).all():
            raise DataError(
                "Perceptron.fit: targets must be −1 and +1",
                got=", ".join(f"{value:g}" for value in np.unique(wanted)[:5]),
                fix="2 * targets - 1 turns 0 and 1 into −1 and +1",
                where=str(here()),
            )
        return samples, wanted

    def extra_repr(self) -> str:
        """Sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}"
