"""Stochastic gradient descent, with momentum as PyTorch defines it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.optim.hyperparameters import (
    NON_NEGATIVE,
    UNIT,
    Interval,
    ParameterGroup,
    Rate,
    Scalars,
)
from chainrule.optim.optimizer import Optimizer, Slot, with_l2


class SGD(Optimizer):
    """θ ← θ − η g, or along a running sum of gradients if there is momentum.

    Args:
        learning_rate: η, ≥ 0. Default 1e-3.
        momentum: μ, ≥ 0: what remains of the running sum at each step. Default 0: no sum.
        dampening: τ in [0, 1]: a gradient enters the sum times 1 − τ (the first one whole).
            Default 0.
        weight_decay: λ ≥ 0: λθ is added to the gradient. Default 0.
        nesterov: Look ahead: step along g + μ·sum. Needs momentum, and no dampening.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range; nesterov without momentum or with dampening.

    Reference: Robbins and Monro 1951, "A stochastic approximation method"; the form with
    momentum is that of Sutskever et al. 2013, with the rate outside the sum.

    >>> from chainrule import optim
    >>> optim.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, dampening=0.0, weight_decay=0.0)
    """

    ranges: ClassVar[Mapping[str, Interval]] = {"momentum": NON_NEGATIVE, "dampening": UNIT}
    switches: ClassVar[frozenset[str]] = frozenset({"momentum", "dampening", "weight_decay"})
    flags: ClassVar[tuple[str, ...]] = ("nesterov",)

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        momentum: Rate = 0.0,
        dampening: Rate = 0.0,
        weight_decay: Rate = 0.0,
        nesterov: bool = False,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = {
            "learning_rate": learning_rate,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
        }
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)
        self.nesterov = bool(nesterov)
        if nesterov and (not self._is_on("momentum") or self._is_on("dampening")):
            raise ArgumentError(
                "SGD: nesterov needs a momentum, and no dampening",
                expected="momentum > 0, dampening = 0",
                got=f"momentum={momentum}, dampening={dampening}",
                where=str(here()),
            )

    def slots(self) -> dict[str, Slot]:
        """The running sum of gradients; nothing without momentum."""
        return {"momentum_buffer": Slot()} if self.is_on_anywhere("momentum") else {}

    def begin(self, h: Scalars, t: Array) -> None:
        """The first gradient enters the sum undampened."""
        if h.dampening is not None:
            h.share = ops.where(t > 1, 1 - h.dampening, 1.0)

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        # g ← g + λθ
        g = with_l2(gradient, parameter, h)
        if h.momentum is None:
            # θ ← θ − η g
            return parameter - h.learning_rate * g, dict(state)
        # b ← μ b + (1 − τ) g
        b = h.momentum * state["momentum_buffer"] + (g if h.dampening is None else h.share * g)
        # θ ← θ − η b, or looking ahead θ ← θ − η (g + μ b)
        direction = g + h.momentum * b if self.nesterov else b
        return parameter - h.learning_rate * direction, {"momentum_buffer": b}
