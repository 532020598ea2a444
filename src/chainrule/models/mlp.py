"""The multilayer perceptron: fully connected layers with a nonlinearity between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.errors import ArgumentError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "scaled_tanh": nn.ScaledTanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}


class MLP(nn.Sequential):
    """Standardise, flatten, then layers of ``Linear → activation → Dropout`` and a last ``Linear``.

    Args:
        input_shape: Shape of one sample, ``(28, 28)``.
        hidden: Units of each hidden layer; empty for a linear classifier.
        n_outputs: Units of the last layer: one a class.
        activation: Key of ``ACTIVATIONS``.
        dropout: Probability of dropping a hidden unit while training, in [0, 1).
        input_dropout: The same for an input, after it is standardised.
        mean: What is subtracted from every input, in the inputs' units: a number, or an array that
            broadcasts against a sample.
        scale: What the difference is divided by; positive.

    Shape: (batch, *input_shape), any numeric dtype → (batch, n_outputs) logits.
    Raises: ArgumentError for sizes below 1 or an unknown activation.

    >>> MLP((28, 28), [10], 10, activation="sigmoid").n_parameters
    7960
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden: Sequence[int],
        n_outputs: int,
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        mean: Any = 0.0,
        scale: Any = 1.0,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ArgumentError(
                f"there is no activation {activation!r}",
                expected=", ".join(ACTIVATIONS),
                got=repr(activation),
            )
        for name, given, valid in [
            ("input_shape", input_shape, "(28, 28), or (4,) for rows of 4 numbers"),
            ("hidden", hidden, "[512, 256], or [100] for one hidden layer"),
        ]:
            if isinstance(given, int):
                raise ArgumentError(
                    f"MLP: {name} is a sequence of sizes",
                    expected=valid,
                    got=repr(given),
                    fix=f"MLP(..., {name}=({given},))",
                )
        if any(size < 1 for size in (*input_shape, *hidden, n_outputs)):
            raise ArgumentError(
                "every layer needs at least one unit", got=f"{list(hidden)} and {n_outputs} outputs"
            )
        layers: list[nn.Module] = [nn.Standardize(mean, scale), nn.Flatten()]
        if input_dropout:
            layers.append(nn.Dropout(input_dropout))
        width = math.prod(input_shape)
        for units in hidden:
            layers += [nn.Linear(width, units), ACTIVATIONS[activation]()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = units
        layers.append(nn.Linear(width, n_outputs))
        super().__init__(*layers)

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases, tied ones once."""
        return sum(p.size for p in self.parameters())

    def weight_matrices(self) -> list[Array]:
        """The weights of the linear layers, first to last, each (out, in)."""
        return [layer.weight for layer in self if isinstance(layer, nn.Linear)]
