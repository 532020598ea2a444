"""RAdam: Adam that waits until its running mean square can be trusted."""

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


class RAdam(Optimizer):
    """Adam with rectified variance: plain momentum during the first steps, then Adam.

    Args:
        learning_rate: α, ≥ 0. Default 1e-3.
        betas: (β₁, β₂), each in [0, 1): what remains of the running means of g and g² at each
            step. Default (0.9, 0.999).
        epsilon: ε ≥ 0, added to the root. Default 1e-8.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        decoupled_weight_decay: Shrink the parameters by αλ instead, as AdamW does.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Liu et al. 2020, "On the variance of the adaptive learning rate and beyond",
    algorithm 2; adaptive from ρ_t > 5 on, as PyTorch, where the paper has 4.

    >>> from chainrule import optim
    >>> optim.RAdam().learning_rate
    0.001
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "beta1": BETA,
        "beta2": BETA,
        "epsilon": NON_NEGATIVE,
    }
    flags: ClassVar[tuple[str, ...]] = ("decoupled_weight_decay",)

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        betas: tuple[Rate, Rate] = (0.9, 0.999),
        epsilon: Rate = 1e-8,
        weight_decay: Rate = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = adam_common(learning_rate, betas, epsilon, weight_decay)
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)
        self.decoupled_weight_decay = bool(decoupled_weight_decay)

    def slots(self) -> dict[str, Slot]:
        """m₀ = 0, v₀ = 0."""
        return {"first_moment": Slot(), "second_moment": Slot()}

    def begin(self, h: Scalars, t: Array) -> None:
        """How far v can be trusted at step t."""
        h.rest1, h.rest2 = 1 - h.beta1, 1 - h.beta2
        power = h.beta2**t
        # ρ_∞ = 2 / (1 − β₂) − 1,  ρ_t = ρ_∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
        longest = 2 / h.rest2 - 1
        length = longest - 2 * t * power / (1 - power)
        # r_t = √((ρ_t − 4)(ρ_t − 2) ρ_∞ / ((ρ_∞ − 4)(ρ_∞ − 2) ρ_t))
        trusted = length > 5
        safe = ops.where(trusted, length, 6.0)
        ratio = (safe - 4) * (safe - 2) * longest / ((longest - 4) * (longest - 2) * safe)
        r = ops.sqrt(ops.where(trusted, ratio, 0.0))
        # α m̂ r_t √(1 − β₂ᵗ) / (√v + ε) if v can be trusted, else α m̂: one of the two is 0
        corrected = h.learning_rate / (1 - h.beta1**t)
        h.adaptive = corrected * r * ops.sqrt(1 - power)
        h.plain = ops.where(trusted, 0.0, corrected)
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
        # θ ← θ − (adaptive or plain rate) m
        step = (h.adaptive / (ops.sqrt(v) + h.epsilon) + h.plain) * m
        return theta - step, {"first_moment": m, "second_moment": v}
