"""Schedules that are one formula of the step: from constant to polynomial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.optim.schedules.base import Schedule, Unit, factor_in, positive_integer, rate_in


class InverseTime(Schedule):
    """η_t = η₀ / t for the t-th step or epoch, counted from 1.

    Args:
        initial: η₀ ≥ 0, the first rate.
        unit: ``"step"`` or ``"epoch"``.

    Reference: Robbins and Monro 1951, section 2: Σ η = ∞ and Σ η² < ∞.

    >>> from chainrule import optim
    >>> optim.InverseTime(1.0).values(0, 3)
    array([1.        , 0.5       , 0.33333333])
    """

    def __init__(self, initial: float, *, unit: Unit = "step") -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "InverseTime: initial")

    def rate(self, position: int) -> float:
        """η₀ / t."""
        return self.initial / (position + 1)


class Linear(Schedule):
    """η(t) = (1 − t/T) η₀ + (t/T) η_∞ until T, then η_∞.

    Args:
        initial: η₀ ≥ 0.
        final: η_∞ ≥ 0.
        duration: T, in units, ≥ 1.
        unit: ``"step"`` or ``"epoch"``.

    >>> from chainrule import optim
    >>> optim.Linear(0.9, 0.1, 2).values(0, 4)
    array([0.9, 0.5, 0.1, 0.1])
    """

    def __init__(self, initial: float, final: float, duration: int, *, unit: Unit = "step") -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "Linear: initial")
        self.final = rate_in(final, "Linear: final")
        self.length = positive_integer(duration, "Linear: duration")

    def rate(self, position: int) -> float:
        """Between the two rates, then the second."""
        if position >= self.length:
            return self.final
        share = position / self.length
        return (1 - share) * self.initial + share * self.final

    def duration(self) -> int | None:
        """T."""
        return self.length

    def _settings(self) -> dict[str, Any]:
        return {"initial": self.initial, "final": self.final, "duration": self.length}


class Polynomial(Schedule):
    """η(t) = η_∞ + (η₀ − η_∞) (1 − t/T)^p until T, then η_∞.

    Args:
        initial: η₀ ≥ 0.
        duration: T, in units, ≥ 1.
        power: p > 0. Default 2; 1 is a straight line.
        final: η_∞ ≥ 0. Default 0.
        unit: ``"step"`` or ``"epoch"``.

    >>> from chainrule import optim
    >>> optim.Polynomial(1.0, 4).values(0, 5)
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    ])
    """

    def __init__(
        self,
        initial: float,
        duration: int,
        power: float = 2.0,
        final: float = 0.0,
        *,
        unit: Unit = "step",
    ) -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "Polynomial: initial")
        self.length = positive_integer(duration, "Polynomial: duration")
        self.power = factor_in(power, "Polynomial: power", high=float("inf"))
        self.final = rate_in(final, "Polynomial: final")

    def rate(self, position: int) -> float:
        """The power of what is left."""
        left = 1 - min(position, self.length) / self.length
        return self.final + (self.initial - self.final) * math.pow(left, self.power)

    def duration(self) -> int | None:
        """T."""
        return self.length

    def _settings(self) -> dict[str, Any]:
        names = ("initial", "length", "power", "final")
        return {name.replace("length", "duration"): getattr(self, name) for name in names}


class Exponential(Schedule):
    """η(t) = η₀ γᵗ.

    Args:
        initial: η₀ ≥ 0.
        factor: γ in (0, 1]: what remains after each step or epoch.
        unit: ``"step"`` or ``"epoch"``.

    >>> from chainrule import optim
    >>> optim.Exponential(1.0, 0.5).values(0, 3)
    array([1.  , 0.5 , 0.25])
    """

    def __init__(self, initial: float, factor: float, *, unit: Unit = "step") -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "Exponential: initial")
        self.factor = factor_in(factor, "Exponential: factor")

    def rate(self, position: int) -> float:
        """η₀ γᵗ."""
        return self.initial * self.factor**position


class StepDecay(Schedule):
    """Multiply by γ every n steps or epochs: η(t) = η₀ γ^⌊t/n⌋.

    Args:
        initial: η₀ ≥ 0.
        every: n ≥ 1, in units.
        factor: γ in (0, 1]. Default 0.1.
        unit: ``"step"`` or ``"epoch"``.

    >>> from chainrule import optim
    >>> optim.StepDecay(1.0, every=2, factor=0.5).values(0, 5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    def __init__(
        self, initial: float, every: int, factor: float = 0.1, *, unit: Unit = "step"
    ) -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "StepDecay: initial")
        self.every = positive_integer(every, "StepDecay: every")
        self.factor = factor_in(factor, "StepDecay: factor")

    def rate(self, position: int) -> float:
        """η₀ γ^⌊t/n⌋."""
        return self.initial * self.factor ** (position // self.every)


class MultiStep(Schedule):
    """Multiply by γ at each milestone that has been reached.

    Args:
        initial: η₀ ≥ 0.
        milestones: Positions ≥ 1 in units, rising.
        factor: γ in (0, 1]. Default 0.1.
        unit: ``"step"`` or ``"epoch"``.

    >>> from chainrule import optim
    >>> optim.MultiStep(1.0, [1, 3], factor=0.5).values(0, 5)
    array([1.  , 0.5 , 0.5 , 0.25, 0.25])
    """

    def __init__(
        self, initial: float, milestones: Sequence[int], factor: float = 0.1, *, unit: Unit = "step"
    ) -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "MultiStep: initial")
        self.milestones = [positive_integer(n, "MultiStep: milestone") for n in milestones]
        self.factor = factor_in(factor, "MultiStep: factor")
        if sorted(set(self.milestones)) != self.milestones:
            raise ArgumentError(
                "MultiStep: milestones must rise",
                expected=str(sorted(set(self.milestones))),
                got=str(self.milestones),
                where=str(here()),
            )

    def rate(self, position: int) -> float:
        """η₀ γ^(milestones reached)."""
        return self.initial * self.factor ** sum(n <= position for n in self.milestones)

    def duration(self) -> int | None:
        """The last milestone."""
        return self.milestones[-1] if self.milestones else 1


class FunctionSchedule(Schedule):
    """Any function of the step or epoch.

    Args:
        function: From the number of steps (or whole epochs) done so far to a rate ≥ 0. It must
            depend on nothing else, so that a resumed run gets the same rates.
        unit: ``"step"`` or ``"epoch"``: what the function is given.

    >>> from chainrule import optim
    >>> optim.FunctionSchedule(lambda step: 0.1 / (1 + step) ** 0.5).values(0, 2).round(4)
    array([0.1   , 0.0707])
    """

    def __init__(self, function: Callable[[int], float], *, unit: Unit = "step") -> None:
        super().__init__(unit)
        if not callable(function):
            raise ArgumentError(
                "FunctionSchedule takes a function from step to rate",
                got=repr(function),
                fix="a fixed rate needs no schedule: learning_rate=0.1",
                where=str(here()),
            )
        self.function = function

    def rate(self, position: int) -> float:
        """What the function says."""
        return rate_in(self.function(position), f"the rate of {self!r} at {self.unit} {position}")
