"""AMSGrad: Adam whose rates never rise again."""

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


class AMSGrad(Optimizer):
    """Adam scaled by the largest running mean square so far.

    Moments are corrected for their start at 0, as PyTorch does; the paper's algorithm has no
    correction.

    Args:
        learning_rate: α, ≥ 0. Default 1e-3.
        betas: (β₁, β₂), each in [0, 1): what remains of the running means of g and g² at each
            step. Default (0.9, 0.999).
        epsilon: ε ≥ 0, added to the root. Default 1e-8.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Reddi, Kale and Kumar 2018, "On the convergence of Adam and beyond", algorithm 2.

    >>> from chainrule import optim
    >>> optim.AMSGrad().learning_rate
    0.001
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "beta1": BETA,
        "beta2": BETA,
        "epsilon": NON_NEGATIVE,
    }

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
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
        """m₀ = 0, v₀ = 0, v̂₀ = 0."""
        return {
            "first_moment": Slot(),
            "second_moment": Slot(),
            "largest_second_moment": Slot(),
        }

    def begin(self, h: Scalars, t: Array) -> None:
        """Bias corrections."""
        h.rest1, h.rest2 = 1 - h.beta1, 1 - h.beta2
        h.step_size = h.learning_rate / (1 - h.beta1**t)
        h.root_correction = 1 / ops.sqrt(1 - h.beta2**t)

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = with_l2(gradient, parameter, h)
        # m ← β₁ m + (1 − β₁) g
        m = h.beta1 * state["first_moment"] + h.rest1 * g
        # v ← β₂ v + (1 − β₂) g²
        v = h.beta2 * state["second_moment"] + h.rest2 * (g * g)
        # v̂ ← max(v̂, v)
        largest = ops.maximum(state["largest_second_moment"], v)
        # θ ← θ − α m / (√v̂ + ε), both corrected for their start
        step = h.step_size * m / (h.root_correction * ops.sqrt(largest) + h.epsilon)
        new = {"first_moment": m, "second_moment": v, "largest_second_moment": largest}
        return parameter - step, new
