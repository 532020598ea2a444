"""Run folders: ``runs/2026-11-21-mnist-mlp-001`` with everything one run leaves behind."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from chainrule.array import Array
from chainrule.errors import ArgumentError, StateError
from chainrule.training import checkpoint


class RunFolder:
    """A folder that holds one run.

    * ``config.json``: how the run was set up;
    * ``metrics.jsonl``: one line an epoch;
    * ``checkpoints/``: what a killed run goes on from;
    * ``weights.safetensors``: the weights that ``fit`` ended with;
    * ``learning_curve.png``, ``confusion_matrix.png``, ``weights_layer1.png``, ...: pictures;
    * ``summary.txt``: the model's layers and the best results.

    Args:
        path: The folder; it and ``checkpoints`` are made if they do not exist.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ArgumentError(f"{self.path} is a file, not a run folder")
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    @classmethod
    def create(cls, name: str, root: str | PathLike[str] = "runs") -> RunFolder:
        """Make a new folder, named by today's date, ``name`` and the first free number.

        Args:
            name: What is trained, ``"mnist-mlp"``; other characters than letters, digits, dots,
                dashes and underscores become dashes.
            root: Folder of all runs.

        >>> import tempfile
        >>> root = tempfile.mkdtemp()
        >>> RunFolder.create("mnist mlp", root).path.name[10:]
        '-mnist-mlp-001'
        >>> RunFolder.create("mnist mlp", root).path.name[10:]
        '-mnist-mlp-002'
        """
        plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
        stem = f"{datetime.date.today().isoformat()}-{plain}"
        for number in range(1, 100_000):
            path = Path(root) / f"{stem}-{number:03d}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return cls(path)
        raise ArgumentError(f"{root} holds too many runs named {stem}")

    @classmethod
    def open(cls, path: str | PathLike[str]) -> RunFolder:
        """Open an existing run.

        Raises:
            StateError: The folder does not exist or holds no run.
        """
        folder = Path(path)
        if not (folder / "checkpoints").is_dir():
            raise StateError(
                f"{folder} is no run folder",
                expected="a folder with config.json and checkpoints/",
                got="no such folder" if not folder.exists() else "no checkpoints/ in it",
            )
        return cls(folder)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File with one JSON line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        """File with the weights that the run ended with."""
        return self.path / "weights.safetensors"

    @property
    def config(self) -> dict[str, Any]:
        """What ``write_config`` wrote.

        Raises:
            StateError: The file is missing or damaged.
        """
        path = self.path / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StateError(f"{path} can not be read: {error.strerror}") from None
        except ValueError as error:
            raise StateError(f"{path} is damaged: {error}") from None
        if not isinstance(found, dict):
            raise StateError(f"{path} is damaged: it holds no table")
        return found

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Add entries to ``config.json``; those that are there under other names stay."""
        path = self.path / "config.json"
        known = self.config if path.exists() else {}
        text = json.dumps({**known, **config}, indent=2, ensure_ascii=False, default=str)
        checkpoint.write_atomically(path, f"{text}\n".encode())

    def write_summary(self, text: str) -> None:
        """Write ``summary.txt``."""
        checkpoint.write_atomically(self.path / "summary.txt", f"{text.rstrip()}\n".encode())

    def save_weights(self, state: Mapping[str, Array]) -> None:
        """Write a model's ``state_dict()`` to ``weights.safetensors``, which others can read."""
        from safetensors.numpy import save

        content = save({name: _dense(value) for name, value in state.items()})
        checkpoint.write_atomically(self.weights, bytes(content))

    def load_weights(self) -> dict[str, Any]:
        """What ``save_weights`` wrote, for ``model.load_state_dict``.

        Raises:
            StateError: The file is missing or damaged.
        """
        try:
            content = self.weights.read_bytes()
        except OSError as error:
            raise StateError(f"{self.weights} can not be read: {error.strerror}") from None
        return checkpoint.read_tensors(content, str(self.weights))

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"


def _dense(value: Array) -> Any:
    import numpy as np

    return np.ascontiguousarray(value.numpy()).reshape(value.shape)


def new_run_folder(root: str | PathLike[str], name: str) -> Path:
    """Make a new run folder below ``root`` and return its path; see ``RunFolder.create``."""
    return RunFolder.create(name, root).path


def load_best(run: str | PathLike[str], model: Any) -> None:
    """Load the best weights of a run into a model.

    They are those that the run ended with; of a run that has not ended, the best so far by its
    latest checkpoint, or without validation the latest.

    Args:
        run: The run's folder.
        model: A model built as the run's was.

    Raises:
        StateError: The folder holds no weights, or they do not fit the model.
    """
    folder = RunFolder.open(run)
    if folder.weights.exists():
        model.load_state_dict(folder.load_weights())
        return
    state, _ = checkpoint.load_latest(folder.checkpoints)
    kept = [s["weights"] for s in state["callbacks"].values() if s.get("weights")]
    model.load_state_dict(kept[0] if kept else state["model"])
