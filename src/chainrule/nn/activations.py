"""Activation functions as layers, under PyTorch's names; the formulas are in ``nn.functional``."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn import functional
from chainrule.nn.checks import positive_integer
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter


class Sigmoid(Module):
    """The logistic function 1 / (1 + exp(−x)), in (0, 1)."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent, in (−1, 1)."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.tanh(x)


class ScaledTanh(Module):
    """LeCun's 1.7159 tanh(2x/3), which maps ±1 to ±1."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.scaled_tanh(x)


class ReLU(Module):
    """max(0, x); derivative 0 at 0."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.relu(x)


class ReLU6(Module):
    """min(max(0, x), 6)."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.relu6(x)


class LeakyReLU(Module):
    """x where x > 0, else ``negative_slope`` · x.

    Args:
        negative_slope: Slope left of 0. Default 0.01.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = float(negative_slope)

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.leaky_relu(x, self.negative_slope)


class PReLU(Module):
    """Leaky ReLU with learned slopes (He et al. 2015).

    Args:
        num_parameters: 1, or the number of channels (axis 1).
        init: Slope at the start. Default 0.25.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = positive_integer(num_parameters, "PReLU: num_parameters")
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x: Any) -> Array:
        """(batch, channels, ...) → the same."""
        return functional.prelu(x, self.weight)


class ELU(Module):
    """x where x > 0, else α (exp(x) − 1).

    Args:
        alpha: Negative limit. Default 1.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = float(alpha)

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.elu(x, self.alpha)


class SELU(Module):
    """Scaled ELU that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.selu(x)


class Softplus(Module):
    """ln(1 + exp(βx)) / β, a smooth ReLU.

    Args:
        beta: Sharpness, > 0. Default 1.
        threshold: Linear where βx is above it. Default 20.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        if not beta > 0:
            raise ArgumentError("Softplus: beta must be positive", expected="> 0", got=str(beta))
        self.beta, self.threshold = float(beta), float(threshold)

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.softplus(x, self.beta, self.threshold)


class GELU(Module):
    """x Φ(x).

    Args:
        approximate: ``"none"`` (exact) or ``"tanh"``.
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ArgumentError(
                "GELU: unknown approximation", expected="'none' or 'tanh'", got=repr(approximate)
            )
        self.approximate = approximate

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.gelu(x, self.approximate)


class SiLU(Module):
    """x σ(x), also called swish."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.silu(x)


class Mish(Module):
    """x tanh(softplus(x))."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.mish(x)


class Hardtanh(Module):
    """x limited to [min_val, max_val].

    Args:
        min_val: Lower limit. Default −1.
        max_val: Upper limit, above ``min_val``. Default 1.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        if not min_val < max_val:
            raise ArgumentError(
                "Hardtanh: min_val must be below max_val", got=f"{min_val} and {max_val}"
            )
        self.min_val, self.max_val = float(min_val), float(max_val)

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.hardtanh(x, self.min_val, self.max_val)


class Hardsigmoid(Module):
    """(x + 3) / 6 limited to [0, 1]."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.hardsigmoid(x)


class Hardswish(Module):
    """x · hardsigmoid(x)."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.hardswish(x)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.softsign(x)


class BinaryStep(Module):
    """1 where x ≥ threshold, else 0; nothing is learned through it.

    Args:
        threshold: Where it steps. Default 0.
    """

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = float(threshold)

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.binary_step(x, self.threshold)


class SignStep(Module):
    """+1 above the threshold, −1 below it; nothing is learned through it.

    Args:
        threshold: Where it steps. Default 0.
        at_threshold: Value on the threshold: +1 (Rosenblatt's ≥, the default) or −1.
    """

    def __init__(self, threshold: float = 0.0, *, at_threshold: float = 1.0) -> None:
        if at_threshold not in (1.0, -1.0):
            raise ArgumentError(
                "SignStep: at_threshold is +1 or −1", expected="1 or -1", got=str(at_threshold)
            )
        self.threshold, self.at_threshold = float(threshold), float(at_threshold)

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.sign_step(x, self.threshold, at_threshold=self.at_threshold)


class Sign(Module):
    """−1, 0 or 1; nothing is learned through it."""

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.sign(x)


class Softmax(Module):
    """exp(x) / Σ exp(x) along an axis. ``CrossEntropyLoss`` wants the logits before it.

    Args:
        dim: The axis. Default −1.
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = int(dim)

    def forward(self, x: Any) -> Array:
        """Any shape → the same, sums of 1 along the axis."""
        return functional.softmax(x, self.dim)


class LogSoftmax(Module):
    """ln softmax(x) along an axis, for ``NLLLoss``.

    Args:
        dim: The axis. Default −1.
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = int(dim)

    def forward(self, x: Any) -> Array:
        """Any shape → the same."""
        return functional.log_softmax(x, self.dim)


class Maxout(Module):
    """The largest of each group of ``pieces`` units (Goodfellow et al. 2013).

    Args:
        pieces: Linear pieces a unit, ≥ 1.
        dim: The axis, whose size is divided by ``pieces``. Default −1.
    """

    def __init__(self, pieces: int, dim: int = -1) -> None:
        self.pieces, self.dim = positive_integer(pieces, "Maxout: pieces"), int(dim)

    def forward(self, x: Any) -> Array:
        """(..., units · pieces) → (..., units)."""
        return functional.maxout(ops.as_value(x), self.pieces, self.dim)
