"""Ends set beforehand: a time limit, a target reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Chunk, Fit


class TimeLimit(Callback):
    """Stop after a time, inside an epoch if need be; the epoch's part is measured and recorded.

    A resumed run gets the whole time again.

    Args:
        minutes: How long to train, in minutes, > 0.

    Raises:
        ArgumentError: The time is not positive.
    """

    def __init__(self, minutes: float) -> None:
        if not minutes > 0:
            raise ArgumentError("a time limit must be positive", got=f"{minutes} minutes")
        self.minutes = minutes
        self._start = 0.0

    def on_fit_begin(self, fit: Fit) -> None:
        """Start the clock."""
        self._start = fit.seconds

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Stop if time is up."""
        if fit.seconds - self._start >= 60 * self.minutes:
            fit.stop(f"the time limit of {self.minutes:g} minutes is reached")


class StopOnTarget(Callback):
    """Stop as soon as a column reaches a value.

    Args:
        monitor: Column, ``"val_accuracy"``.
        target: Value that is good enough.

    >>> StopOnTarget("val_accuracy", 0.98)
    StopOnTarget('val_accuracy', 0.98)
    """

    priority = 10

    def __init__(self, monitor: str, target: float) -> None:
        self.monitor = monitor
        self.target = target
        self.reached = False

    def on_fit_begin(self, fit: Fit) -> None:
        """Check the column; a run that had reached the target stops again at once."""
        fit.monitored(self.monitor, "StopOnTarget")
        self.reached = self.reached and fit.resumed
        self._stop_if_reached(fit)

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Compare with the target."""
        name, higher = fit.monitored(self.monitor, "StopOnTarget")
        self.reached = row[name] >= self.target if higher else row[name] <= self.target
        self._stop_if_reached(fit)

    def _stop_if_reached(self, fit: Fit) -> None:
        if self.reached:
            fit.stop(f"{self.monitor} reached its target {self.target:g}")

    def state_dict(self) -> dict[str, Any]:
        """Whether the target was reached."""
        return {"reached": bool(self.reached)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.reached = bool(state["reached"])

    def __repr__(self) -> str:
        return f"StopOnTarget({self.monitor!r}, {self.target!r})"
