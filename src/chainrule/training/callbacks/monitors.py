"""Callbacks that look inside: gradients, parameters, speed, schedules and the loss itself."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import TeachingWarning
from chainrule.ops.origin import here, stack_level
from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Chunk, Fit


class GradientNormMonitor(Callback):
    """The length of the whole gradient: mean and largest of each epoch as columns.

    Exploding gradients show here before the loss does; vanishing ones too. Measured before
    clipping. Columns: ``gradient_norm``, ``gradient_norm_max``.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.largest = 0.0
        self.count = 0

    def observe(self, gradients: Mapping[str, Array]) -> Array:
        """The Euclidean norm over all parameters."""
        squares = [ops.sum(ops.square(ops.astype(g, "float32"))) for g in gradients.values()]
        norm: Array = ops.sqrt(sum(squares[1:], squares[0]))
        return norm

    def on_fit_begin(self, fit: Fit) -> None:
        """Start afresh, unless the run goes on."""
        if not fit.resumed:
            self._reset()

    def _reset(self) -> None:
        self.total, self.largest, self.count = 0.0, 0.0, 0

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Take in the norms, one step after the other."""
        for norm in chunk.observations[self.key].tolist():
            self.total += norm
            self.largest = max(self.largest, norm)
        self.count += chunk.n_steps

    def columns(self) -> Mapping[str, bool]:
        """The two columns."""
        return {"gradient_norm": False, "gradient_norm_max": False}

    def measure(self, fit: Fit) -> Mapping[str, float]:
        """Mean and largest norm of the epoch."""
        mean = self.total / self.count if self.count else math.nan
        row = {"gradient_norm": mean, "gradient_norm_max": self.largest}
        self._reset()
        return row

    def state_dict(self) -> dict[str, Any]:
        """What the epoch has so far."""
        return {"total": self.total, "largest": self.largest, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.total, self.largest = float(state["total"]), float(state["largest"])
        self.count = int(state["count"])


class ParameterHistogram(Callback):
    """How each parameter's numbers are spread, epoch by epoch, in ``records``.

    Args:
        bins: How many bins a histogram has, 1 or more.

    Each record is a dict: ``epoch``, ``name``, ``mean``, ``std``, ``edges`` (bins + 1 numbers),
    ``counts`` (bins numbers).
    """

    def __init__(self, bins: int = 30) -> None:
        self.bins = bins
        self.records: list[dict[str, Any]] = []

    def on_fit_begin(self, fit: Fit) -> None:
        """Start afresh, unless the run goes on."""
        if not fit.resumed:
            self.records = []

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Count."""
        for name, parameter in fit.model.named_parameters():
            values = np.asarray(parameter.numpy(), dtype=np.float64)
            counts, edges = np.histogram(values, self.bins)
            self.records.append(
                {
                    "epoch": fit.epoch,
                    "name": name,
                    "mean": float(values.mean()),
                    "std": float(values.std()),
                    "edges": edges.tolist(),
                    "counts": counts.tolist(),
                }
            )

    def state_dict(self) -> dict[str, Any]:
        """The records."""
        return {"records": self.records}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.records = list(state["records"])


class Timer(Callback):
    """Training speed of each epoch: column ``samples_per_second``; validation is not counted."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._samples = 0.0
        self._last = 0.0

    def on_fit_begin(self, fit: Fit) -> None:
        """Start the clock."""
        self._seconds, self._samples, self._last = 0.0, 0.0, time.perf_counter()

    def on_epoch_begin(self, fit: Fit) -> None:
        """Start the clock."""
        self._seconds, self._samples, self._last = 0.0, 0.0, time.perf_counter()

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Read the clock."""
        now = time.perf_counter()
        self._seconds += now - self._last
        self._samples += fit.n_samples * chunk.n_steps / fit.n_steps
        self._last = now

    def columns(self) -> Mapping[str, bool]:
        """The column."""
        return {"samples_per_second": True}

    def measure(self, fit: Fit) -> Mapping[str, float]:
        """Samples a second, of the part of the epoch that this process ran."""
        speed = self._samples / self._seconds if self._seconds else math.nan
        return {"samples_per_second": speed}


class ReportToSchedule(Callback):
    """Tell the optimizer's schedules (reduce on plateau listens) how each epoch went.

    ``Trainer.fit`` adds one by itself when the optimizer has a schedule.

    Args:
        monitor: Column; None: ``val_loss``, or ``loss`` without validation data.
    """

    def __init__(self, monitor: str | None = None) -> None:
        self.monitor = monitor

    def on_fit_begin(self, fit: Fit) -> None:
        """Check the column."""
        fit.monitored(self.monitor, "ReportToSchedule")

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Report the value."""
        name, _ = fit.monitored(self.monitor, "ReportToSchedule")
        fit.optimizer.report(row[name])


class LossWatch(Callback):
    """Warn once when the loss diverges, or does not move at all, and name the learning rate.

    ``Trainer.fit`` adds one by itself.

    Args:
        divergence: An epoch whose mean loss is this many times the first epoch's, or the loss of
            the first step, diverges; > 1.
        stillness: A change of the loss below this share counts as none.
        patience: Steps to wait before a loss that does not move is worth a warning.
    """

    def __init__(
        self, divergence: float = 3.0, stillness: float = 1e-4, patience: int = 1000
    ) -> None:
        self.divergence = divergence
        self.stillness = stillness
        self.patience = patience
        self.first = math.nan
        self.warned = False

    def on_fit_begin(self, fit: Fit) -> None:
        """Start afresh, unless the run goes on."""
        if not fit.resumed:
            self.first, self.warned = math.nan, False

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Remember the loss before any training."""
        if math.isnan(self.first):
            self.first = float(chunk.losses[0])

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Compare with the beginning."""
        if self.warned:
            return
        losses = fit.history["loss"]
        if self._diverges(fit, losses):
            self._warn(
                f"the loss grew from {self.first:.3g} to {losses[-1]:.3g} in {fit.n_updates} "
                f"steps: the learning rate {fit.learning_rate:g} is probably too high. "
                f"Try {fit.learning_rate / 10:g}, or scale the inputs to mean 0 and deviation 1"
            )
        elif self._is_still(fit, losses):
            self._warn(
                f"the loss has stayed at {losses[-1]:.3g} for {fit.n_updates} steps: the learning "
                f"rate {fit.learning_rate:g} may be too low (try {fit.learning_rate * 10:g}), so "
                "high that the units are saturated, or the labels do not belong to the inputs"
            )

    def _diverges(self, fit: Fit, losses: list[float]) -> bool:
        # the first loss of a tiny batch says little; the first epoch's mean says more
        tiny = fit.n_samples < 8 * fit.n_steps
        start = losses[0] if tiny else self.first
        return fit.n_updates >= 10 and start > 0 and losses[-1] > self.divergence * start

    def _is_still(self, fit: Fit, losses: list[float]) -> bool:
        moved = max(losses) - min(losses)
        enough = fit.n_updates >= self.patience and len(losses) >= 5
        return enough and losses[0] > 0 and moved <= self.stillness * losses[0]

    def _warn(self, text: str) -> None:
        self.warned = True
        warnings.warn(TeachingWarning(f"{text} (at {here()})"), stacklevel=stack_level())

    def state_dict(self) -> dict[str, Any]:
        """The first loss, and whether it has warned."""
        return {"first": self.first, "warned": self.warned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.first, self.warned = float(state["first"]), bool(state["warned"])
