"""``Fit``: one call of ``Trainer.fit`` as its callbacks see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.training.doors import Samples
from chainrule.training.history import History
from chainrule.training.run import RunFolder


@dataclass(frozen=True)
class Chunk:
    """Some steps of an epoch that ran in one stretch.

    Args:
        first_step: Number of the first one within its epoch, from 0.
        losses: The loss of each step, (n_steps,).
        observations: What observing callbacks asked for, by their key: arrays with a row a step.
    """

    first_step: int
    losses: np.ndarray
    observations: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """How many steps ran."""
        return len(self.losses)


@dataclass
class Fit:
    """Where a run stands.

    Args:
        trainer: Whose ``fit`` was called; for ``evaluate`` and ``predict``.
        model: The model, whose weights are those after the last step.
        optimizer: The optimizer.
        history: One row an epoch.
        epochs: Number of the last epoch to run.
        n_samples: Training samples.
        n_steps: Steps an epoch.
        columns: Every column a row of this run has, and whether higher is better there.
        validation: The validation data, or None.
        image_shape: (height, width) of the inputs, where they are images of one channel.
        folder: The run folder, or None.
        resumed: The run goes on from a checkpoint.
        epoch: Whole epochs finished.
        step: Steps finished in the next epoch.
        n_updates: Steps finished altogether.
        seconds: Time used, earlier parts of a resumed run included.
        partial: The epoch that ends, or has ended, was cut short.
        running: Means of the current epoch so far: ``loss`` and metrics.
        measured: Training and validation figures of the epoch that ends, by column.
        stop_reason: Why the run is to stop at the next step boundary; empty to go on.
        save_checkpoint: Write a checkpoint of this moment into the run folder and return its path;
            without a folder, None.
    """

    trainer: Any
    model: Any
    optimizer: Any
    history: History
    epochs: int
    n_samples: int
    n_steps: int
    columns: dict[str, bool]
    validation: Samples | None = None
    image_shape: tuple[int, int] | None = None
    folder: RunFolder | None = None
    resumed: bool = False
    epoch: int = 0
    step: int = 0
    n_updates: int = 0
    seconds: float = 0.0
    partial: bool = False
    running: dict[str, float] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    stop_reason: str = ""
    save_checkpoint: Callable[[], Any] = lambda: None

    def stop(self, reason: str) -> None:
        """End the run at the next step boundary; of several reasons the first is kept."""
        self.stop_reason = self.stop_reason or reason

    def monitored(self, name: str | None, user: str) -> tuple[str, bool]:
        """Which column to watch, and whether higher is better there.

        Args:
            name: A column; None takes ``val_loss``, or ``loss`` without validation data.
            user: Who asks, for the message.

        Raises:
            ArgumentError: The run has no such column.
        """
        if name is None:
            name = "val_loss" if "val_loss" in self.columns else "loss"
        if name not in self.columns:
            missing = name.startswith("val_") and "val_loss" not in self.columns
            raise ArgumentError(
                f"{user} watches {name!r}, which this run does not measure",
                expected=", ".join(self.columns),
                got=repr(name),
                fix="give fit(..., validation=...)" if missing else "name one of these columns",
                where=str(here()),
            )
        return name, self.columns[name]

    @property
    def learning_rate(self) -> float:
        """The rate of the next step, of the first parameter group."""
        return float(self.trainer.learning_rate)
