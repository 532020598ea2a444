"""AdaGrad: rates that fall with the gradients seen so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule import ops
from chainrule.array import Array
from chainrule.optim.hyperparameters import NON_NEGATIVE, Interval, ParameterGroup, Rate, Scalars
from chainrule.optim.optimizer import Optimizer, Slot, with_l2


class AdaGrad(Optimizer):
    """θ ← θ − η g / (√Σ g² + ε), the sum taken over all steps so far, element by element.

    With ``epsilon=0`` it is the formula of the lectures; an element whose gradients all were 0
    then stays where it is.

    Args:
        learning_rate: η, ≥ 0. Default 0.01.
        learning_rate_decay: κ ≥ 0: the rate of step t is η / (1 + (t − 1) κ). Default 0.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        initial_accumulator: What the sums begin with, ≥ 0. Default 0.
        epsilon: ε ≥ 0, added to the root. Default 1e-10.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for online learning and
    stochastic optimization", figure 1 with diagonal matrices.

    >>> from chainrule import optim
    >>> optim.AdaGrad().epsilon
    1e-10
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "learning_rate_decay": NON_NEGATIVE,
        "epsilon": NON_NEGATIVE,
    }
    switches: ClassVar[frozenset[str]] = frozenset(
        {"weight_decay", "learning_rate_decay", "epsilon"}
    )

    def __init__(
        self,
        learning_rate: Rate = 1e-2,
        learning_rate_decay: Rate = 0.0,
        weight_decay: Rate = 0.0,
        initial_accumulator: float = 0.0,
        epsilon: Rate = 1e-10,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = {
            "learning_rate": learning_rate,
            "learning_rate_decay": learning_rate_decay,
            "weight_decay": weight_decay,
            "epsilon": epsilon,
        }
        self.initial_accumulator = NON_NEGATIVE.check(
            initial_accumulator, "AdaGrad: initial_accumulator"
        )
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)

    def slots(self) -> dict[str, Slot]:
        """The sums of squares."""
        return {"sum_of_squares": Slot(self.initial_accumulator)}

    def begin(self, h: Scalars, t: Array) -> None:
        """The rate of step t."""
        if h.learning_rate_decay is not None:
            h.learning_rate = h.learning_rate / (1 + (t - 1) * h.learning_rate_decay)

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = with_l2(gradient, parameter, h)
        # s ← s + g²
        s = state["sum_of_squares"] + g * g
        # θ ← θ − η g / (√s + ε)
        if h.epsilon is None:
            scaled = ops.where(s > 0, g / ops.sqrt(ops.where(s > 0, s, 1)), 0)
        else:
            scaled = g / (ops.sqrt(s) + h.epsilon)
        return parameter - h.learning_rate * scaled, {"sum_of_squares": s}
