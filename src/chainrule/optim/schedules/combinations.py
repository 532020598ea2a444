"""Schedules made of schedules: warm-up, one after another, products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.optim.schedules.base import (
    Schedule,
    Unit,
    as_schedule,
    factor_in,
    positive_integer,
)


class Warmup(Schedule):
    """Rise linearly to another schedule's first rate, then follow it from its beginning.

    During the warm-up of n steps, η(k) = η₀ (s + (1 − s) (k + 1) / (n + 1)): no step is lost on a
    rate of 0, and the full rate comes right after.

    Args:
        duration: n, how long the rise lasts, in units, ≥ 1.
        then: What follows, counting its own steps from 0: a rate or a schedule.
        start_factor: s in [0, 1): where the rise begins, relative to η₀. Default 0.
        unit: ``"step"`` or ``"epoch"``, for ``duration`` alone.

    Reference: Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.2.

    >>> from chainrule import optim
    >>> optim.Warmup(3, then=1.0).values(0, 5)
    array([0.25, 0.5 , 0.75, 1.  , 1.  ])
    """

    def __init__(
        self,
        duration: int,
        then: float | Schedule,
        *,
        start_factor: float = 0.0,
        unit: Unit = "step",
    ) -> None:
        super().__init__(unit)
        self.duration_in_units = positive_integer(duration, "Warmup: duration")
        self.then = as_schedule(then, "Warmup: then")
        self.start_factor = factor_in(1 - start_factor, "Warmup: 1 − start_factor")
        self.start_factor = 1 - self.start_factor

    def parts(self) -> dict[str, Schedule]:
        """The schedule that follows."""
        return {"then": self.then}

    def __call__(self, step: int) -> float:
        """The rate of the next update."""
        position = self._position(step)
        n = self.duration_in_units
        if position >= n:
            return self.then(step - n * steps_per_unit(self))
        share = (position + 1) / (n + 1)
        return self.then(0) * (self.start_factor + (1 - self.start_factor) * share)

    def duration(self) -> int | None:
        """The rise and what follows, if both count alike."""
        return _add([(self.duration_in_units, self), (self.then.duration(), self.then)])

    def _settings(self) -> dict[str, Any]:
        settings = {"duration": self.duration_in_units, "then": self.then}
        return settings | ({"start_factor": self.start_factor} if self.start_factor else {})


class Chain(Schedule):
    """One schedule after another, each counting from its own beginning.

    Args:
        segments: Pairs ``(duration, schedule or rate)``; durations ≥ 1 in units. The last one goes
            on for ever, and its duration may be None.
        unit: ``"step"`` or ``"epoch"``, for the durations alone.

    >>> from chainrule import optim
    >>> optim.Chain([(2, 0.1), (None, optim.Exponential(1.0, 0.5))]).values(0, 5)
    array([0.1 , 0.1 , 1.  , 0.5 , 0.25])
    """

    def __init__(
        self, segments: Sequence[tuple[int | None, float | Schedule]], *, unit: Unit = "step"
    ) -> None:
        super().__init__(unit)
        if not segments:
            raise ArgumentError("Chain: there are no segments", where=str(here()))
        self.segments = [
            (
                None if i == len(segments) - 1 else positive_integer(n, "Chain: duration"),
                as_schedule(schedule, "Chain: rate"),
            )
            for i, (n, schedule) in enumerate(segments)
        ]

    def parts(self) -> dict[str, Schedule]:
        """The segments' schedules, by number."""
        return {str(i): schedule for i, (_, schedule) in enumerate(self.segments)}

    def __call__(self, step: int) -> float:
        """The rate of the next update."""
        position, begun = self._position(step), 0
        for length, schedule in self.segments:
            if length is None or position < begun + length:
                return schedule(step - begun * steps_per_unit(self))
            begun += length
        raise AssertionError("the last segment goes on for ever")

    def duration(self) -> int | None:
        """All segments, if they count alike."""
        lengths = [(n or s.duration(), self if n else s) for n, s in self.segments]
        return _add(lengths)


def steps_per_unit(schedule: Schedule) -> int:
    """How many steps one unit of a schedule has."""
    return 1 if schedule.unit == "step" else schedule.steps_per_epoch or 1


def _add(lengths: Sequence[tuple[int | None, Schedule]]) -> int | None:
    """The sum of durations in steps or epochs; None if one is unknown or they count differently."""
    units = {schedule.unit for _, schedule in lengths}
    numbers = [n for n, _ in lengths if n is not None]
    return sum(numbers) if len(units) == 1 and len(numbers) == len(lengths) else None
