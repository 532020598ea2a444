"""Checkpoints in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.training import checkpoint
from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Chunk, Fit


class ModelCheckpoint(Callback):
    """Write a checkpoint every few epochs, every few minutes inside them, and when the run ends.

    ``Trainer.fit(run_dir=...)`` adds one by itself.

    Args:
        every_epochs: Epochs between checkpoints, 1 or more.
        every_minutes: Minutes between checkpoints inside an epoch, > 0; None: none inside.
        keep: How many of the latest to keep, 1 or more.

    Raises:
        ArgumentError: A number is out of range; or, when the run begins, there is no run folder.
    """

    # last, so that the checkpoint holds what the other callbacks decided
    priority = 100

    def __init__(
        self, every_epochs: int = 1, every_minutes: float | None = 5.0, keep: int = 2
    ) -> None:
        for name, value in (("every_epochs", every_epochs), ("keep", keep)):
            if value < 1:
                raise ArgumentError(f"{name} is out of range", expected="≥ 1", got=str(value))
        if every_minutes is not None and not every_minutes > 0:
            raise ArgumentError(
                "every_minutes is out of range", expected="> 0, or None", got=str(every_minutes)
            )
        self.every_epochs = every_epochs
        self.every_minutes = every_minutes
        self.keep = keep
        self._last_seconds = 0.0
        self._last_place = (-1, -1)

    def on_fit_begin(self, fit: Fit) -> None:
        """Write the very first one, so that a run is never without."""
        if fit.folder is None:
            raise ArgumentError(
                "ModelCheckpoint has nowhere to write to", fix="fit(..., run_dir='runs/mine')"
            )
        self._last_place = (-1, -1)
        if fit.resumed:
            self._last_place = (fit.epoch, fit.step)
            self._last_seconds = fit.seconds
        else:
            self.save(fit)

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Write one if it is time; the end of an epoch has its own."""
        if self.every_minutes is None or fit.step == fit.n_steps:
            return
        if fit.seconds - self._last_seconds >= 60 * self.every_minutes:
            self.save(fit)

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Write one every few epochs; part of an epoch has been written already."""
        if not fit.partial and (fit.epoch % self.every_epochs == 0 or fit.epoch == fit.epochs):
            self.save(fit)

    def save(self, fit: Fit) -> None:
        """Write a checkpoint of this moment, unless there is one already, and drop old ones."""
        if (fit.epoch, fit.step) != self._last_place and fit.folder is not None:
            fit.save_checkpoint()
            checkpoint.prune(fit.folder.checkpoints, self.keep)
        self._last_place = (fit.epoch, fit.step)
        self._last_seconds = fit.seconds
