"""What a person sees while a run goes on: a live bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Chunk, Fit

#: no line is longer, so that a table stays one in a terminal of usual width
WIDTH = 80
#: seconds between two drawings of the bar
REDRAW = 0.1


class EpochTable:
    """Lays out one line an epoch: aligned columns that fit into ``WIDTH``.

    Args:
        fit: Tells the columns and the last epoch.
    """

    def __init__(self, fit: Fit) -> None:
        self.digits = len(str(fit.epochs))
        self.names = _fitting(list(fit.columns), WIDTH - (2 * self.digits + 4) - 2)

    def header(self) -> str:
        """The names of the columns."""
        cells = [_title(name).rjust(_width(name)) for name in self.names]
        return "epoch".ljust(2 * self.digits + 3) + "".join(cells)

    def line(self, row: Mapping[str, Any], epochs: int, best: bool) -> str:
        """The values of an epoch.

        Args:
            row: The history's row.
            epochs: Number of the last epoch.
            best: Mark the line: no epoch before was better.
        """
        start = f"{row['epoch']:>{self.digits}}/{epochs}".ljust(2 * self.digits + 3)
        cells = [_shown(name, row.get(name, math.nan)).rjust(_width(name)) for name in self.names]
        return start + "".join(cells) + (" *" if best else "")


def _fitting(columns: list[str], room: int) -> list[str]:
    """The columns worth showing, as many as fit; what matters most is taken first."""

    def importance(name: str) -> int:
        if name in ("loss", "val_loss"):
            return 0
        if name.startswith("val_"):
            return 1
        return {"seconds": 3, "learning_rate": 4}.get(name, 2)

    kept: set[str] = set()
    for name in sorted(columns, key=importance):
        if name != "epoch" and sum(map(_width, kept)) + _width(name) <= room:
            kept.add(name)
    return [name for name in columns if name in kept]


def _title(name: str) -> str:
    return {"learning_rate": "rate", "seconds": "time"}.get(name, name)


def _width(name: str) -> int:
    return max(len(_title(name)), 7) + 2


def _shown(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    if name == "seconds":
        return f"{value:.1f}s" if value < 1000 else f"{value / 60:.0f}min"
    if name == "learning_rate":
        return f"{value:.2g}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1000 or value == 0 else f"{value:.2e}"


class EpochLine(Callback):
    """One aligned line an epoch, at most 80 columns wide; a star marks each new best epoch.

    Args:
        stream: Where to write; None: standard output.
    """

    priority = 40

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._table: EpochTable | None = None

    def on_fit_begin(self, fit: Fit) -> None:
        """Write the header."""
        self._table = EpochTable(fit)
        if fit.epoch < fit.epochs:
            self._write(self._table.header())

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Write the line."""
        if self._table is not None:
            self._write(self._table.line(row, fit.epochs, fit.history.best_epoch == row["epoch"]))

    def on_fit_end(self, fit: Fit) -> None:
        """Say why the run ended early."""
        if fit.stop_reason:
            self._write(f"stopped: {fit.stop_reason}")

    def _write(self, line: str) -> None:
        print(line, file=self.stream or sys.stdout, flush=True)


class ProgressBar(EpochLine):
    """A live bar for the epoch at work, redrawn at most ten times a second, above it the lines.

    Args:
        console: A rich Console; None makes one on standard output.
    """

    def __init__(self, console: Any = None) -> None:
        super().__init__()
        self._console = console
        self._bar: Any = None
        self._task: Any = None
        self._drawn = 0.0

    def on_fit_begin(self, fit: Fit) -> None:
        """Start the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = self._console or Console()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=fit.n_steps, epoch="", values="")
        self._bar.start()
        super().on_fit_begin(fit)

    def on_epoch_begin(self, fit: Fit) -> None:
        """Start from the left."""
        self._bar.reset(self._task, total=fit.n_steps, epoch=self._epoch(fit), values="")

    def _epoch(self, fit: Fit) -> str:
        return f"{min(fit.epoch + 1, fit.epochs)}/{fit.epochs}"

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Redraw, if the last time is long enough ago."""
        now = time.monotonic()
        if now - self._drawn < REDRAW:
            return
        self._drawn = now
        values = "  ".join(f"{k} {_shown(k, v)}" for k, v in list(fit.running.items())[:2])
        self._bar.update(self._task, completed=fit.step, epoch=self._epoch(fit), values=values)
        self._bar.refresh()

    def on_fit_end(self, fit: Fit) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        super().on_fit_end(fit)

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


PROGRESS = ("auto", "bar", "line", "none")


def progress_callback(kind: str) -> EpochLine | None:
    """The callback for ``fit(progress=...)``; ``"auto"`` is a bar on a terminal, else lines."""
    if kind == "auto":
        kind = "bar" if sys.stdout.isatty() else "line"
    return {"bar": ProgressBar, "line": EpochLine}[kind]() if kind != "none" else None
