"""Files that grow by one line an epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from chainrule.training import checkpoint
from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Fit


class _HistoryFile(Callback):
    """A file that always holds the history: rewritten when a run begins, then appended to.

    Rewriting heals what a killed run left: half a line, or epochs after its last checkpoint.
    """

    priority = 50

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    def on_fit_begin(self, fit: Fit) -> None:
        """Write the epochs that are there already."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rewrite(fit)

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Add the epoch."""
        raise NotImplementedError

    def _rewrite(self, fit: Fit) -> None:
        raise NotImplementedError

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    @property
    def key(self) -> str:
        """Class and file name."""
        return f"{type(self).__name__}:{self.path.name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"


class JSONLinesLogger(_HistoryFile):
    """One JSON object a line and epoch; what is not finite becomes null.

    Args:
        path: File to write; its folder is made if it does not exist.
    """

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Add a line."""
        self._append(self._line(row))

    def _rewrite(self, fit: Fit) -> None:
        text = "".join(self._line(row) for row in fit.history.rows())
        checkpoint.write_atomically(self.path, text.encode())

    def _line(self, row: Mapping[str, Any]) -> str:
        plain = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        return json.dumps(plain, allow_nan=False) + "\n"


class CSVLogger(_HistoryFile):
    """The history as comma-separated values with a header line.

    Args:
        path: File to write; its folder is made if it does not exist.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(path)
        self._width = -1

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Add a line; a new column makes the whole file anew, for the sake of its header."""
        if len(fit.history) != self._width:
            self._rewrite(fit)
        else:
            self._append(fit.history.csv().splitlines()[-1] + "\n")

    def _rewrite(self, fit: Fit) -> None:
        self._width = len(fit.history)
        checkpoint.write_atomically(self.path, fit.history.csv().encode())
