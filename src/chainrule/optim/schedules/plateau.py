"""Lower the rate when a metric stops getting better."""

from __future__ import annotations

import math
from typing import Any, Literal

from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.optim.schedules.base import Schedule, factor_in, rate_in


class ReduceOnPlateau(Schedule):
    """Multiply the rate by a factor when the metric has not got better for a while.

    The Trainer reports the validation metric after each epoch; in a loop of your own call
    ``optimizer.report(metric)``. What it has seen is saved with the optimizer.

    Args:
        initial: Rate at first, ≥ 0.
        factor: In (0, 1). Default 0.1.
        patience: Reports without improvement that are put up with, ≥ 0; the next one lowers the
            rate. Default 10.
        mode: ``"min"``: lower is better; ``"max"``: higher.
        threshold: What counts as better, ≥ 0. Default 1e-4.
        threshold_mode: ``"rel"``: better by this share of the best; ``"abs"``: by this much.
        cooldown: Reports after a reduction that do not count, ≥ 0. Default 0.
        minimum: The rate goes no lower, ≥ 0. Default 0.

    >>> from chainrule import optim
    >>> schedule = optim.ReduceOnPlateau(1.0, patience=1, factor=0.5)
    >>> for metric in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.report(metric)
    >>> schedule(0)
    0.5
    """

    remembered = ("current", "best", "n_bad", "cooling")

    def __init__(
        self,
        initial: float,
        factor: float = 0.1,
        patience: int = 10,
        mode: Literal["min", "max"] = "min",
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        minimum: float = 0.0,
    ) -> None:
        super().__init__()
        self.initial = rate_in(initial, "ReduceOnPlateau: initial")
        self.factor = factor_in(factor, "ReduceOnPlateau: factor")
        self.patience = int(rate_in(patience, "ReduceOnPlateau: patience"))
        self.mode = _one_of(mode, ("min", "max"), "mode")
        self.threshold = rate_in(threshold, "ReduceOnPlateau: threshold")
        self.threshold_mode = _one_of(threshold_mode, ("rel", "abs"), "threshold_mode")
        self.cooldown = int(rate_in(cooldown, "ReduceOnPlateau: cooldown"))
        self.minimum = rate_in(minimum, "ReduceOnPlateau: minimum")
        if self.factor == 1:
            raise ArgumentError("ReduceOnPlateau: a factor of 1 reduces nothing")
        self.current = self.initial
        self.best = math.inf if mode == "min" else -math.inf
        self.n_bad = 0
        self.cooling = 0

    def rate(self, position: int) -> float:
        """The rate as it is now, whatever the step."""
        return self.current

    def report(self, metric: float) -> None:
        """Take note of a metric; NaN counts as no improvement."""
        metric = float(metric)
        if self._is_better(metric):
            self.best = metric
            self.n_bad = 0
        else:
            self.n_bad += 1
        if self.cooling:
            self.cooling -= 1
            self.n_bad = 0
        if self.n_bad > self.patience:
            self.current = max(self.current * self.factor, self.minimum)
            self.cooling = self.cooldown
            self.n_bad = 0

    def _is_better(self, metric: float) -> bool:
        if math.isinf(self.best):
            return metric < self.best if self.mode == "min" else metric > self.best
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        if self.mode == "min":
            return metric < self.best - margin
        return metric > self.best + margin

    def _settings(self) -> dict[str, Any]:
        names = ("initial", "factor", "patience", "mode")
        return {name: getattr(self, name) for name in names}


def _one_of(value: Any, known: tuple[str, ...], what: str) -> Any:
    if value not in known:
        raise ArgumentError(
            f"ReduceOnPlateau: there is no such {what}",
            expected=" or ".join(map(repr, known)),
            got=repr(value),
            where=str(here()),
        )
    return value
