"""RMSProp: gradients over the root of their running mean square."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule import ops
from chainrule.array import Array
from chainrule.optim.hyperparameters import (
    NON_NEGATIVE,
    UNIT,
    Interval,
    ParameterGroup,
    Rate,
    Scalars,
)
from chainrule.optim.optimizer import Optimizer, Slot, with_l2


class RMSProp(Optimizer):
    """θ ← θ − η g / (√E[g²] + ε), as PyTorch: ε outside the root.

    Args:
        learning_rate: η, ≥ 0. Default 0.01.
        alpha: α in [0, 1]: what remains of the running means at each step. Default 0.99.
        epsilon: ε ≥ 0, added to the root. Default 1e-8.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        momentum: μ ≥ 0: what remains of the running sum of steps. Default 0: no sum.
        centered: Divide by the deviation √(E[g²] − E[g]²) instead.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Tieleman and Hinton 2012, "Neural networks for machine learning", lecture 6.5; Graves
    2013, "Generating sequences with recurrent neural networks", equations 38 to 41, for the
    centered form.

    >>> from chainrule import optim
    >>> optim.RMSProp(0.01).alpha
    0.99
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "alpha": UNIT,
        "epsilon": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
    }
    switches: ClassVar[frozenset[str]] = frozenset({"weight_decay", "momentum"})
    flags: ClassVar[tuple[str, ...]] = ("centered",)

    def __init__(
        self,
        learning_rate: Rate = 1e-2,
        alpha: Rate = 0.99,
        epsilon: Rate = 1e-8,
        weight_decay: Rate = 0.0,
        momentum: Rate = 0.0,
        centered: bool = False,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = {
            "learning_rate": learning_rate,
            "alpha": alpha,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
            "momentum": momentum,
        }
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)
        self.centered = bool(centered)

    def slots(self) -> dict[str, Slot]:
        """E[g²], with ``centered`` E[g], with momentum the running sum of steps."""
        slots = {"mean_square": Slot()}
        if self.centered:
            slots["mean_gradient"] = Slot()
        if self.is_on_anywhere("momentum"):
            slots["momentum_buffer"] = Slot()
        return slots

    def begin(self, h: Scalars, t: Array) -> None:
        """The share of what is new."""
        h.rest = 1 - h.alpha

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = with_l2(gradient, parameter, h)
        new = dict(state)
        # E[g²] ← α E[g²] + (1 − α) g²
        n = new["mean_square"] = h.alpha * state["mean_square"] + h.rest * (g * g)
        if self.centered:
            # E[g] ← α E[g] + (1 − α) g
            mean = new["mean_gradient"] = h.alpha * state["mean_gradient"] + h.rest * g
            # rounding may leave a tiny negative variance, which has no root
            n = ops.maximum(n - mean * mean, 0)
        scaled = g / (ops.sqrt(n) + h.epsilon)
        if h.momentum is not None:
            # b ← μ b + g / (√n + ε)
            scaled = new["momentum_buffer"] = h.momentum * state["momentum_buffer"] + scaled
        # θ ← θ − η b
        return parameter - h.learning_rate * scaled, new
