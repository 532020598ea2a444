"""Adamax: Adam with the largest gradient in place of the mean square."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule import ops
from chainrule.array import Array
from chainrule.optim.hyperparameters import (
    BETA,
    NON_NEGATIVE,
    Interval,
    ParameterGroup,
    Rate,
    Scalars,
)
from chainrule.optim.optimizer import Optimizer, Slot, adam_common, with_l2


class Adamax(Optimizer):
    """Adam with the infinity norm: steps are scaled by the largest recent |g|.

    Args:
        learning_rate: α, ≥ 0. Default 2e-3.
        betas: (β₁, β₂), each in [0, 1): what remains of the running means of g and max |g| at each
            step. Default (0.9, 0.999).
        epsilon: ε ≥ 0, added to |g|. Default 1e-8.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 2.

    >>> from chainrule import optim
    >>> optim.Adamax().learning_rate
    0.002
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "beta1": BETA,
        "beta2": BETA,
        "epsilon": NON_NEGATIVE,
    }

    def __init__(
        self,
        learning_rate: Rate = 2e-3,
        betas: tuple[Rate, Rate] = (0.9, 0.999),
        epsilon: Rate = 1e-8,
        weight_decay: Rate = 0.0,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = adam_common(learning_rate, betas, epsilon, weight_decay)
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)

    def slots(self) -> dict[str, Slot]:
        """m₀ = 0, u₀ = 0."""
        return {"first_moment": Slot(), "infinity_norm": Slot()}

    def begin(self, h: Scalars, t: Array) -> None:
        """Bias correction: u needs none."""
        h.rest1 = 1 - h.beta1
        h.step_size = h.learning_rate / (1 - h.beta1**t)

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = with_l2(gradient, parameter, h)
        # m ← β₁ m + (1 − β₁) g
        m = h.beta1 * state["first_moment"] + h.rest1 * g
        # u ← max(β₂ u, |g| + ε): ε keeps the quotient defined before the first gradient ≠ 0
        u = ops.maximum(h.beta2 * state["infinity_norm"], ops.abs(g) + h.epsilon)
        # θ ← θ − α / (1 − β₁ᵗ) · m / u
        return parameter - h.step_size * m / u, {"first_moment": m, "infinity_norm": u}
