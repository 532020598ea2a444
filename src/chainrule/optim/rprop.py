"""Rprop: steps that grow while the sign of the gradient stays, for full batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule import ops
from chainrule.array import Array
from chainrule.optim.hyperparameters import POSITIVE, Interval, ParameterGroup, Rate, Scalars, pair
from chainrule.optim.optimizer import Optimizer, Slot


class Rprop(Optimizer):
    """Resilient backpropagation: only the signs of gradients count.

    Made for the whole data set at once; on mini-batches the signs are noise.

    Args:
        learning_rate: Δ₀, ≥ 0: every element's first step. It is read when the state is created:
            afterwards each element has its own, so schedules and later changes are refused.
            Default 0.01.
        etas: (η⁻, η⁺) with 0 < η⁻ < 1 < η⁺: factors on a step whose sign changed or stayed.
            Default (0.5, 1.2).
        step_sizes: (Δ_min, Δ_max), both > 0. Default (1e-6, 50).
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Riedmiller and Braun 1993, "A direct adaptive method for faster backpropagation
    learning: the RPROP algorithm"; without weight backtracking: a step after a change of sign is
    left out (iRprop⁻ of Igel and Hüsken 2000).

    >>> from chainrule import optim
    >>> optim.Rprop().eta_plus
    1.2
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "eta_minus": Interval(0.0, 1.0, open_low=True),
        "eta_plus": Interval(1.0, open_low=True),
        "smallest_step": POSITIVE,
        "largest_step": POSITIVE,
    }

    fixed: ClassVar[frozenset[str]] = frozenset({"learning_rate"})

    def __init__(
        self,
        learning_rate: float = 1e-2,
        etas: tuple[Rate, Rate] = (0.5, 1.2),
        step_sizes: tuple[Rate, Rate] = (1e-6, 50.0),
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        eta_minus, eta_plus = pair(etas, "Rprop: etas")
        smallest, largest = pair(step_sizes, "Rprop: step_sizes")
        values = {
            "learning_rate": learning_rate,
            "eta_minus": eta_minus,
            "eta_plus": eta_plus,
            "smallest_step": smallest,
            "largest_step": largest,
        }
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)

    def slots(self) -> dict[str, Slot]:
        """The last gradient, and every element's step, Δ₀ = learning rate."""
        return {"previous_gradient": Slot(), "step_size": Slot("learning_rate")}

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = gradient
        # s ← g_{t−1} g_t
        agreement = g * state["previous_gradient"]
        # Δ ← min(Δ η⁺, Δ_max) if s > 0, max(Δ η⁻, Δ_min) if s < 0
        factor = ops.where(agreement > 0, h.eta_plus, ops.where(agreement < 0, h.eta_minus, 1))
        size = ops.maximum(state["step_size"] * factor, h.smallest_step)
        size = ops.minimum(size, h.largest_step)
        # g ← 0 if s < 0: no step now, and no comparison next time
        g = ops.where(agreement < 0, 0, g)
        # θ ← θ − sign(g) Δ
        return parameter - ops.sign(g) * size, {"previous_gradient": g, "step_size": size}
