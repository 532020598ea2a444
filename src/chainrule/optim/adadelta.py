"""AdaDelta: steps in the units of the parameters."""

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


class AdaDelta(Optimizer):
    """Scale gradients by the ratio of the running sizes of steps and gradients.

    Args:
        learning_rate: η, ≥ 0, a factor on the paper's step. Default 1.
        rho: ρ in [0, 1]: what remains of the running means at each step. Default 0.9.
        epsilon: ε ≥ 0, under both roots. Default 1e-6.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Zeiler 2012, "ADADELTA: an adaptive learning rate method", algorithm 1.

    >>> from chainrule import optim
    >>> optim.AdaDelta()
    AdaDelta(learning_rate=1.0, rho=0.9, epsilon=1e-06, weight_decay=0.0)
    """

    ranges: ClassVar[Mapping[str, Interval]] = {"rho": UNIT, "epsilon": NON_NEGATIVE}

    def __init__(
        self,
        learning_rate: Rate = 1.0,
        rho: Rate = 0.9,
        epsilon: Rate = 1e-6,
        weight_decay: Rate = 0.0,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = {
            "learning_rate": learning_rate,
            "rho": rho,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)

    def slots(self) -> dict[str, Slot]:
        """E[g²]₀ = 0, E[Δx²]₀ = 0."""
        return {"mean_square_gradient": Slot(), "mean_square_step": Slot()}

    def begin(self, h: Scalars, t: Array) -> None:
        """The share of what is new."""
        h.rest = 1 - h.rho

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = with_l2(gradient, parameter, h)
        # E[g²] ← ρ E[g²] + (1 − ρ) g²
        gradients = h.rho * state["mean_square_gradient"] + h.rest * (g * g)
        # Δx ← RMS[Δx] / RMS[g] · g  (the paper's sign turned: we subtract it)
        steps = state["mean_square_step"]
        delta = ops.sqrt(steps + h.epsilon) / ops.sqrt(gradients + h.epsilon) * g
        # E[Δx²] ← ρ E[Δx²] + (1 − ρ) Δx²
        steps = h.rho * steps + h.rest * (delta * delta)
        # x ← x − η Δx
        new = parameter - h.learning_rate * delta
        return new, {"mean_square_gradient": gradients, "mean_square_step": steps}
