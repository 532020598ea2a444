"""``History``: what a training run measured, as columns with one entry an epoch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from chainrule.errors import ArgumentError


class History(Mapping[str, list[Any]]):
    """Columns by name: ``history["loss"]`` is a list with one number an epoch.

    Columns are ``epoch`` (from 1), ``loss``, the metrics, the same of the validation data as
    ``val_loss``, ``val_accuracy``, ..., ``learning_rate`` (of the epoch's last step) and
    ``seconds``. A value that an epoch did not measure is NaN.

    Args:
        columns: Where to go on from; None starts empty.
        monitor: The column that decides which epoch is best; None: ``val_loss``, or ``loss``
            without validation.
        higher_is_better: Direction of that column.

    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history.append({"epoch": 2, "loss": 0.25})
    >>> history["loss"], history.best_epoch
    ([0.5, 0.25], 2)
    """

    def __init__(
        self,
        columns: Mapping[str, list[Any]] | None = None,
        monitor: str | None = None,
        higher_is_better: bool = False,
    ) -> None:
        self._columns: dict[str, list[Any]] = {k: list(v) for k, v in (columns or {}).items()}
        self.monitor = monitor
        self.higher_is_better = higher_is_better
        #: why the run ended before its last epoch; empty if it did not
        self.stopped = ""

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._columns:
            raise ArgumentError(
                f"the history has no column {name!r}",
                expected=", ".join(self._columns) or "nothing yet: no epoch has ended",
                got=repr(name),
            )
        return self._columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def n_epochs(self) -> int:
        """How many epochs are recorded."""
        return max((len(column) for column in self._columns.values()), default=0)

    def append(self, row: Mapping[str, Any]) -> None:
        """Record one epoch."""
        count = self.n_epochs
        for name in row:
            self._columns.setdefault(name, [math.nan] * count)
        for name, column in self._columns.items():
            column.append(row.get(name, math.nan))

    def rows(self) -> list[dict[str, Any]]:
        """One dict an epoch."""
        return [
            {name: column[i] for name, column in self._columns.items()}
            for i in range(self.n_epochs)
        ]

    @property
    def best_epoch(self) -> int | None:
        """Number (from 1) of the epoch with the best monitored value; None before the first.

        Of equal values the first is best; NaN never is.
        """
        name = self.monitor or ("val_loss" if "val_loss" in self._columns else "loss")
        values = self._columns.get(name, [])
        numbers = self._columns.get("epoch", list(range(1, len(values) + 1)))
        best: int | None = None
        best_value = math.nan
        for number, value in zip(numbers, values, strict=True):
            if not math.isnan(value) and (
                math.isnan(best_value) or self._better(value, best_value)
            ):
                best, best_value = number, value
        return best

    def _better(self, value: float, than: float) -> bool:
        return value > than if self.higher_is_better else value < than

    def csv(self) -> str:
        """The columns as comma-separated text with a header line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._columns)
        writer.writerows([row.values() for row in self.rows()])
        return text.getvalue()

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write ``csv()`` to a file."""
        Path(path).write_text(self.csv(), encoding="utf-8")

    def state_dict(self) -> dict[str, Any]:
        """The columns and the settings, for a checkpoint."""
        return {
            "columns": {name: list(column) for name, column in self._columns.items()},
            "monitor": self.monitor,
            "higher_is_better": self.higher_is_better,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self._columns = {name: list(column) for name, column in state["columns"].items()}
        self.monitor = state["monitor"]
        self.higher_is_better = state["higher_is_better"]

    def __repr__(self) -> str:
        best = self.best_epoch
        note = f", best epoch {best}" if best is not None else ""
        return f"History({self.n_epochs} epochs: {', '.join(self._columns)}{note})"
