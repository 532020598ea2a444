"""NAdam: Adam that looks ahead like Nesterov's momentum."""

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


class NAdam(Optimizer):
    """Adam with Nesterov momentum, whose momentum μ_t warms up.

    Args:
        learning_rate: α, ≥ 0. Default 2e-3.
        betas: (β₁, β₂), each in [0, 1): what remains of the running means of g and g² at each
            step. Default (0.9, 0.999).
        epsilon: ε ≥ 0, added to the root. Default 1e-8.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        momentum_decay: ψ ≥ 0: μ_t = β₁ (1 − ½ · 0.96^(t ψ)). Default 4e-3.
        decoupled_weight_decay: Shrink the parameters by αλ instead, as AdamW does.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Dozat 2016, "Incorporating Nesterov momentum into Adam", algorithm 2 and its note on
    μ_t.

    >>> from chainrule import optim
    >>> optim.NAdam().momentum_decay
    0.004
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "beta1": BETA,
        "beta2": BETA,
        "epsilon": NON_NEGATIVE,
        "momentum_decay": NON_NEGATIVE,
    }
    flags: ClassVar[tuple[str, ...]] = ("decoupled_weight_decay",)

    def __init__(
        self,
        learning_rate: Rate = 2e-3,
        betas: tuple[Rate, Rate] = (0.9, 0.999),
        epsilon: Rate = 1e-8,
        weight_decay: Rate = 0.0,
        momentum_decay: Rate = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = adam_common(learning_rate, betas, epsilon, weight_decay)
        values["momentum_decay"] = momentum_decay
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)
        self.decoupled_weight_decay = bool(decoupled_weight_decay)

    def slots(self) -> dict[str, Slot]:
        """m₀ = 0, v₀ = 0, and ∏ μ over the steps so far, one number."""
        product = Slot(initial=1.0, scalar=True)
        return {"first_moment": Slot(), "second_moment": Slot(), "momentum_product": product}

    def begin(self, h: Scalars, t: Array) -> None:
        """Momenta of this step and the next, and the correction of v."""
        h.rest1, h.rest2 = 1 - h.beta1, 1 - h.beta2
        # μ_t = β₁ (1 − ½ · 0.96^(t ψ))
        h.mu = h.beta1 * (1 - 0.5 * 0.96 ** (t * h.momentum_decay))
        h.next_mu = h.beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * h.momentum_decay))
        h.root_correction = 1 / ops.sqrt(1 - h.beta2**t)
        h.kept = None if h.weight_decay is None else 1 - h.learning_rate * h.weight_decay

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        decoupled = self.decoupled_weight_decay and h.kept is not None
        g = gradient if decoupled else with_l2(gradient, parameter, h)
        theta = h.kept * parameter if decoupled else parameter
        # m ← β₁ m + (1 − β₁) g
        m = h.beta1 * state["first_moment"] + h.rest1 * g
        # v ← β₂ v + (1 − β₂) g²
        v = h.beta2 * state["second_moment"] + h.rest2 * (g * g)
        # ∏ ← ∏ μ_t
        product = state["momentum_product"] * h.mu
        # m̂ ← μ_{t+1} m / (1 − ∏ μ_{t+1}) + (1 − μ_t) g / (1 − ∏)
        ahead = h.learning_rate * h.next_mu / (1 - product * h.next_mu)
        now = h.learning_rate * (1 - h.mu) / (1 - product)
        # θ ← θ − α m̂ / (√v̂ + ε)
        step = (ahead * m + now * g) / (h.root_correction * ops.sqrt(v) + h.epsilon)
        new = {"first_moment": m, "second_moment": v, "momentum_product": product}
        return theta - step, new
