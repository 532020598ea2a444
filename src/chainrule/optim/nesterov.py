"""Nesterov's accelerated gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule.array import Array
from chainrule.optim.hyperparameters import BETA, Interval, ParameterGroup, Rate, Scalars
from chainrule.optim.optimizer import Optimizer, Slot, with_l2


class Nesterov(Optimizer):
    """Momentum that looks ahead: the gradient counts where the velocity is about to lead.

    The parameters kept are the looked-ahead ones, θ + μ v of the paper, so that gradients are
    taken where the parameters are.

    Args:
        learning_rate: η, ≥ 0. Default 1e-2.
        momentum: μ in [0, 1): what remains of the velocity at each step. Default 0.9.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Nesterov 1983, "A method for solving the convex programming problem with convergence
    rate O(1/k²)"; Sutskever et al. 2013, "On the importance of initialization and momentum in deep
    learning", equations 3 and 4; Bengio et al. 2013, "Advances in optimizing recurrent networks",
    equation 7, for the looked-ahead form.

    >>> from chainrule import optim
    >>> optim.Nesterov(0.1)
    Nesterov(learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    """

    ranges: ClassVar[Mapping[str, Interval]] = {"momentum": BETA}

    def __init__(
        self,
        learning_rate: Rate = 1e-2,
        momentum: Rate = 0.9,
        weight_decay: Rate = 0.0,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = {
            "learning_rate": learning_rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
        }
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)

    def slots(self) -> dict[str, Slot]:
        """v₀ = 0."""
        return {"velocity": Slot()}

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = with_l2(gradient, parameter, h)
        pull = h.learning_rate * g
        # v ← μ v − η g
        v = h.momentum * state["velocity"] - pull
        # Θ = θ + μ v:  Θ ← Θ + μ v − η g
        return parameter + (h.momentum * v - pull), {"velocity": v}
