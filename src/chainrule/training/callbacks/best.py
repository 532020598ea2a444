"""The best epoch: keep its weights, and stop when no better one comes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from chainrule.errors import ArgumentError
from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Fit

Mode = Literal["auto", "min", "max"]


class Best:
    """The best value of a watched column so far.

    Args:
        monitor: Column; None: ``val_loss``, or ``loss`` without validation data.
        mode: ``"min"`` or ``"max"``; ``"auto"`` knows the direction of losses and metrics.
        min_delta: How much better a value must be to count, ≥ 0, in the column's unit.

    Raises:
        ArgumentError: Another mode, or a negative ``min_delta``.
    """

    def __init__(self, monitor: str | None, mode: Mode, min_delta: float) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(
                f"there is no mode {mode!r}", expected="'auto', 'min' or 'max'", got=repr(mode)
            )
        if not min_delta >= 0:
            raise ArgumentError("min_delta is negative", expected="≥ 0", got=str(min_delta))
        self.monitor = monitor
        self.mode = mode
        self.min_delta = min_delta
        self.value = math.nan
        self.epoch = 0
        self._name = ""
        self._higher = False

    def begin(self, fit: Fit, user: str) -> None:
        """Find the column; forget an earlier run."""
        self._name, higher = fit.monitored(self.monitor, user)
        self._higher = higher if self.mode == "auto" else self.mode == "max"
        if not fit.resumed:
            self.value, self.epoch = math.nan, 0

    @property
    def name(self) -> str:
        """The watched column."""
        return self._name

    @property
    def higher_is_better(self) -> bool:
        """Direction of the watched column."""
        return self._higher

    def improves(self, fit: Fit, row: Mapping[str, Any]) -> bool:
        """Take in an epoch; True if it is the best so far. NaN never is."""
        value = float(row[self._name])
        gain = value - self.value if self._higher else self.value - value
        if math.isnan(value) or not (math.isnan(self.value) or gain > self.min_delta):
            return False
        self.value, self.epoch = value, fit.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """Best value and epoch."""
        return {"value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.value, self.epoch = float(state["value"]), int(state["epoch"])


class BestWeights(Callback):
    """Keep the weights of the best epoch, and put them back at every kind of end.

    ``Trainer.fit`` adds one by itself when there is validation data.

    Args:
        monitor: Column; None: ``val_loss``, or ``loss`` without validation data.
        mode: ``"min"``, ``"max"``, or ``"auto"``: by the column.
        min_delta: How much better a value must be to count, ≥ 0.
        restore_best: Put the best weights back into the model when the run ends; False only keeps
            them, in ``weights``.
    """

    priority = 10

    def __init__(
        self,
        monitor: str | None = None,
        mode: Mode = "auto",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.best = Best(monitor, mode, min_delta)
        self.restore_best = restore_best
        self.weights: dict[str, Any] | None = None

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch; 0 before the first."""
        return self.best.epoch

    def on_fit_begin(self, fit: Fit) -> None:
        """Find the column to watch."""
        self.best.begin(fit, type(self).__name__)
        fit.history.monitor = self.best.name
        fit.history.higher_is_better = self.best.higher_is_better
        if not fit.resumed:
            self.weights = None

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Keep the weights if this epoch is the best."""
        if self.best.improves(fit, row):
            self.weights = dict(fit.model.state_dict())

    def on_fit_end(self, fit: Fit) -> None:
        """Put the best weights back."""
        if self.restore_best and self.weights is not None:
            fit.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Best value, epoch and weights."""
        return {"best": self.best.state_dict(), "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.best.load_state_dict(state["best"])
        self.weights = state["weights"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(monitor={self.best.monitor!r})"


class EarlyStopping(BestWeights):
    """Stop when the watched column has not improved for ``patience`` epochs; the best weights stay.

    Args:
        monitor: Column; None: ``val_loss``, or ``loss`` without validation data.
        patience: Epochs without improvement before the run stops, 1 or more.
        min_delta: How much better a value must be to count, ≥ 0.
        mode: ``"min"``, ``"max"``, or ``"auto"``: by the column.
        restore_best: Put the best weights back when the run ends, also when it ends otherwise.

    Raises:
        ArgumentError: ``patience`` is below 1.

    Reference: Prechelt 1998, Early stopping, but when?
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Mode = "auto",
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, mode, min_delta, restore_best)
        if patience < 1:
            raise ArgumentError(
                "patience must leave at least one epoch", expected="≥ 1", got=str(patience)
            )
        self.patience = patience
        self.waited = 0

    def on_fit_begin(self, fit: Fit) -> None:
        """Find the column; a run that had stopped already stops again at once."""
        super().on_fit_begin(fit)
        if not fit.resumed:
            self.waited = 0
        self._stop_if_due(fit)

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Count epochs without improvement."""
        before = self.best.epoch
        super().on_epoch_end(fit, row)
        self.waited = 0 if self.best.epoch != before else self.waited + 1
        self._stop_if_due(fit)

    def _stop_if_due(self, fit: Fit) -> None:
        if self.waited >= self.patience:
            fit.stop(
                f"{self.best.name} has not improved for {self.waited} epochs "
                f"(best: {self.best.value:.4g} in epoch {self.best.epoch})"
            )

    def state_dict(self) -> dict[str, Any]:
        """Best value, epoch and weights, and the epochs waited."""
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        super().load_state_dict(state)
        self.waited = int(state["waited"])
