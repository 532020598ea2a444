"""What a schedule is: a rate for every step, counted in steps or in epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from chainrule.errors import ArgumentError, StateError
from chainrule.ops.origin import here

Unit = Literal["step", "epoch"]


class Schedule:
    """A rate that depends on how many updates have been done.

    ``schedule(0)`` is the rate of the first update. Durations of a schedule are counted in its
    ``unit``: with ``"epoch"`` the rate stays the same during an epoch, and the schedule must know
    how many steps an epoch has. ``bind`` tells it, in place; the Trainer does that for its
    optimizer, and in a loop of your own you call ``optimizer.bind(steps_per_epoch=...)`` once.
    Binding a schedule binds all that it is made of.

    Schedules multiply: ``schedule * 0.5`` and ``schedule * other`` are schedules too.

    Args:
        unit: ``"step"`` or ``"epoch"``.
    """

    #: attributes that are saved and restored with the optimizer
    remembered: ClassVar[tuple[str, ...]] = ()

    def __init__(self, unit: Unit = "step") -> None:
        if unit not in ("step", "epoch"):
            raise ArgumentError(
                f"{type(self).__name__}: there is no such unit",
                expected="'step' or 'epoch'",
                got=repr(unit),
                where=str(here()),
            )
        self.unit = unit
        self.steps_per_epoch: int | None = None

    def rate(self, position: int) -> float:
        """The rate after ``position`` whole steps or epochs, whichever the unit is."""
        raise NotImplementedError

    def __call__(self, step: int) -> float:
        """The rate of the next update.

        Args:
            step: Updates done so far, ≥ 0.

        Raises:
            StateError: The unit is epochs, and nobody said how many steps an epoch has.
        """
        if step < 0:
            raise ArgumentError(
                f"{type(self).__name__}: steps are counted from 0",
                expected="step ≥ 0",
                got=str(step),
                where=str(here()),
            )
        return float(self.rate(self._position(int(step))))

    def _position(self, step: int) -> int:
        if self.unit == "step":
            return step
        if self.steps_per_epoch is None:
            raise StateError(
                f"{type(self).__name__} counts epochs but does not know how many steps one has",
                fix="optimizer.bind(steps_per_epoch=len(data) // batch_size), once, before the "
                "first update; the Trainer does it by itself",
                where=str(here()),
            )
        return step // self.steps_per_epoch

    def parts(self) -> dict[str, Schedule]:
        """The schedules that this one is made of, by name."""
        return {}

    def bind(self, steps_per_epoch: int) -> Schedule:
        """Say how many steps an epoch has; returns the schedule itself.

        Args:
            steps_per_epoch: Updates an epoch, ≥ 1.
        """
        self.steps_per_epoch = positive_integer(steps_per_epoch, "steps_per_epoch")
        for part in self.parts().values():
            part.bind(steps_per_epoch)
        return self

    def report(self, metric: float) -> None:
        """Tell how well training goes, once an epoch; only schedules that listen change."""
        for part in self.parts().values():
            part.report(metric)

    def values(self, start: int, n: int) -> np.ndarray:
        """The rates of ``n`` updates.

        Args:
            start: Updates done before the first of them.
            n: How many.

        Shape: output (n,), float64.

        >>> from chainrule import optim
        >>> optim.InverseTime(1.0).values(0, 4)
        array([1.        , 0.5       , 0.33333333, 0.25      ])
        """
        return np.array([self(step) for step in range(start, start + n)], dtype=np.float64)

    def plot(self, path: str | Path | None = None, *, steps: int | None = None) -> Any:
        """Draw the rate over the steps.

        Args:
            path: PNG file to write; None returns the matplotlib figure.
            steps: How many steps to draw; None: as long as the schedule changes.
        """
        from chainrule.plots import schedule_curve

        count = steps or self._length_in_steps() or 1000
        return schedule_curve(self.values(0, count).tolist(), path)

    def duration(self) -> int | None:
        """In the own unit, after how long the rate stays what it is; None: never, or not known."""
        return None

    def _length_in_steps(self) -> int | None:
        length = self.duration()
        if length is None:
            return None
        return (length + 1) * ((self.steps_per_epoch or 1) if self.unit == "epoch" else 1)

    def state_dict(self) -> dict[str, Any]:
        """What the schedule remembers; most remember nothing."""
        state: dict[str, Any] = {name: getattr(self, name) for name in self.remembered}
        for name, part in self.parts().items():
            inner = part.state_dict()
            if inner:
                state[name] = inner
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            StateError: It is from another kind of schedule.
        """
        expected = set(self.state_dict())
        if set(state) != expected:
            raise StateError(
                f"this state does not fit the schedule {self!r}",
                expected=", ".join(sorted(expected)) or "nothing",
                got=", ".join(sorted(state)) or "nothing",
                fix="build the optimizer with the schedule that it was saved with",
                where=str(here()),
            )
        for name in self.remembered:
            setattr(self, name, state[name])
        for name, part in self.parts().items():
            if name in state:
                part.load_state_dict(state[name])

    def __mul__(self, other: float | Schedule) -> Schedule:
        if isinstance(other, bool) or not isinstance(other, int | float | Schedule):
            return NotImplemented
        return Product(self, other)

    __rmul__ = __mul__

    def _settings(self) -> dict[str, Any]:
        """Constructor arguments that ``repr`` shows."""
        hidden = {"steps_per_epoch", "unit", *self.remembered}
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and name not in hidden
        }

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self._settings().items()]
        if self.unit != "step":
            shown.append(f"unit={self.unit!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class Constant(Schedule):
    """η(k) = η₀.

    Args:
        value: η₀ ≥ 0.

    >>> from chainrule import optim
    >>> optim.Constant(0.1)(1000)
    0.1
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = rate_in(value, "Constant: value")

    def rate(self, position: int) -> float:
        """η₀."""
        return self.value

    def duration(self) -> int | None:
        """It never changes."""
        return 1


class Product(Schedule):
    """Two schedules multiplied, or a schedule times a number; written ``a * b``.

    Args:
        first: A schedule.
        second: A schedule or a number ≥ 0.
    """

    def __init__(self, first: Schedule, second: float | Schedule) -> None:
        super().__init__()
        self.first = first
        self.second = as_schedule(second, "factor of a schedule")

    def parts(self) -> dict[str, Schedule]:
        """The two factors."""
        return {"first": self.first, "second": self.second}

    def __call__(self, step: int) -> float:
        """The rate of the next update."""
        return self.first(step) * self.second(step)

    def _length_in_steps(self) -> int | None:
        lengths = [part._length_in_steps() for part in self.parts().values()]
        return max((n for n in lengths if n is not None), default=None)

    def __repr__(self) -> str:
        second = self.second.value if isinstance(self.second, Constant) else self.second
        return f"{self.first!r} * {second!r}"


def as_schedule(value: float | Schedule, what: str) -> Schedule:
    """A number becomes a constant schedule."""
    return value if isinstance(value, Schedule) else Constant(rate_in(value, what))


def rate_in(value: Any, what: str) -> float:
    """A rate: a finite number of at least 0."""
    valid = isinstance(value, int | float | np.integer | np.floating) and not isinstance(
        value, bool
    )
    if not valid or not 0 <= value < math.inf:
        raise ArgumentError(
            f"{what} is no valid rate",
            expected="a number in [0, inf)",
            got=repr(value),
            where=str(here()),
        )
    return float(value)


def factor_in(value: Any, what: str, high: float = 1.0) -> float:
    """A factor: a number in (0, high]."""
    valid = isinstance(value, int | float | np.integer | np.floating) and not isinstance(
        value, bool
    )
    if not valid or not 0 < value <= high:
        raise ArgumentError(
            f"{what} is out of its range",
            expected=f"a number in (0, {high:g}]",
            got=repr(value),
            where=str(here()),
        )
    return float(value)


def positive_integer(value: Any, what: str) -> int:
    """A count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ArgumentError(
            f"{what} must be a positive integer",
            expected="an integer of at least 1",
            got=repr(value),
            where=str(here()),
        )
    return int(value)
