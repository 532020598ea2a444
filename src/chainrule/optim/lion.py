"""Lion: steps of one size along the sign of a blended momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule import ops
from chainrule.array import Array
from chainrule.optim.hyperparameters import BETA, Interval, ParameterGroup, Rate, Scalars, pair
from chainrule.optim.optimizer import Optimizer, Slot


class Lion(Optimizer):
    """Every element moves by exactly the rate, in the direction of its momentum.

    Args:
        learning_rate: η, ≥ 0; three to ten times smaller than Adam's. Default 1e-4.
        betas: (β₁, β₂), each in [0, 1): the blend that gives the sign, and what remains of the
            momentum at each step. Default (0.9, 0.99).
        weight_decay: λ ≥ 0: the parameters shrink by ηλ. Default 0.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Chen et al. 2023, "Symbolic discovery of optimization algorithms", algorithm 2.

    >>> from chainrule import optim
    >>> optim.Lion().learning_rate
    0.0001
    """

    ranges: ClassVar[Mapping[str, Interval]] = {"beta1": BETA, "beta2": BETA}

    def __init__(
        self,
        learning_rate: Rate = 1e-4,
        betas: tuple[Rate, Rate] = (0.9, 0.99),
        weight_decay: Rate = 0.0,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        beta1, beta2 = pair(betas, "Lion: betas")
        values = {
            "learning_rate": learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": weight_decay,
        }
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)

    def slots(self) -> dict[str, Slot]:
        """m₀ = 0."""
        return {"momentum_buffer": Slot()}

    def begin(self, h: Scalars, t: Array) -> None:
        """The shares of what is new, and what decay leaves."""
        h.rest1, h.rest2 = 1 - h.beta1, 1 - h.beta2
        h.kept = None if h.weight_decay is None else 1 - h.learning_rate * h.weight_decay

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        m = state["momentum_buffer"]
        # c ← β₁ m + (1 − β₁) g
        c = h.beta1 * m + h.rest1 * gradient
        # θ ← θ − η (sign(c) + λ θ)
        kept = parameter if h.kept is None else h.kept * parameter
        new = kept - h.learning_rate * ops.sign(c)
        # m ← β₂ m + (1 − β₂) g
        return new, {"momentum_buffer": h.beta2 * m + h.rest2 * gradient}
