"""What a checkpoint of a run holds, and how a run is put back to it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.array import leaf
from chainrule.errors import StateError
from chainrule.metrics import Total
from chainrule.training import checkpoint
from chainrule.training.callbacks import Callback
from chainrule.training.fit import Fit
from chainrule.version import VERSION

#: settings that may differ when a run goes on; all others must not, or the bits would
MAY_DIFFER = ("engine",)


def collect(
    fit: Fit, config: Mapping[str, Any], callbacks: Sequence[Callback], totals: Mapping[str, Total]
) -> dict[str, Any]:
    """The whole state of a run at a step boundary.

    Args:
        fit: Where it stands.
        config: How it was set up.
        callbacks: Their states are taken.
        totals: Running statistics of the epoch.
    """
    random_state = fit.trainer.random_state
    return {
        "config": dict(config),
        "versions": versions(),
        "position": {
            "epoch": fit.epoch,
            "step": fit.step,
            "n_updates": fit.n_updates,
            "epochs": fit.epochs,
            "seconds": fit.seconds,
        },
        "model": dict(fit.model.state_dict()),
        "optimizer": dict(fit.optimizer.state_dict()),
        "random": {"key": random_state.key, "step": random_state.step},
        "partial": {name: total.sums for name, total in totals.items()},
        "history": fit.history.state_dict(),
        "callbacks": {c.key: state for c in callbacks if (state := c.state_dict())},
    }


def versions() -> dict[str, str]:
    """What may change the bits of a result without being a setting."""
    return {
        "chainrule": VERSION,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def find(resume: Any, folder: Any) -> tuple[dict[str, Any], Path] | None:
    """The checkpoint that a run is to go on from.

    Args:
        resume: True: the latest of the run folder, or a fresh start if it has none. A folder (a
            run's, or of checkpoints) or a file: that.
        folder: The run folder of this run, or None.

    Raises:
        StateError: A folder or file was named that holds no valid checkpoint.
    """
    if resume is True:
        if folder is None:
            raise StateError("there is no run folder to resume from", fix="give run_dir= too")
        if not checkpoint.checkpoints(folder.checkpoints):
            return None
        return checkpoint.load_latest(folder.checkpoints)
    path = Path(getattr(resume, "path", resume))
    if path.is_dir():
        inner = path / "checkpoints"
        return checkpoint.load_latest(inner if inner.is_dir() else path)
    return checkpoint.load(path), path


def restore(
    state: Mapping[str, Any],
    label: str,
    fit: Fit,
    config: Mapping[str, Any],
    callbacks: Sequence[Callback],
    totals: Mapping[str, Total],
) -> None:
    """Put a run back to a checkpoint.

    Raises:
        StateError: The checkpoint belongs to another run, or lacks an entry.
    """
    try:
        _compare(state["config"], config, label)
        position = state["position"]
        fit.model.load_state_dict(state["model"])
        fit.optimizer.load_state_dict(state["optimizer"])
        random_state = fit.trainer.random_state
        random_state.key = leaf(state["random"]["key"], owned=True)
        random_state.step = leaf(state["random"]["step"], owned=True)
        fit.history.load_state_dict(state["history"])
        for name, total in totals.items():
            sums = state["partial"][name]
            total.sums = None if sums is None else np.asarray(sums, dtype=np.float64)
        fit.running = {n: t.result() for n, t in totals.items() if t.sums is not None}
        fit.epoch, fit.step = int(position["epoch"]), int(position["step"])
        fit.n_updates = int(position["n_updates"])
        fit.seconds = float(position["seconds"])
        for callback in callbacks:
            if callback.key in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][callback.key])
    except KeyError as error:
        raise StateError(f"{label} is no checkpoint of a run: it has no entry {error}") from None
    lost = sorted(set(state["callbacks"]) - {c.key for c in callbacks})
    if lost:
        checkpoint.logger.warning("no callback takes the saved state of %s", ", ".join(lost))
    changed = [
        f"{name} {state['versions'].get(name)} → {value}"
        for name, value in versions().items()
        if state["versions"].get(name) != value
    ]
    if changed:
        checkpoint.logger.warning(
            "the run was started under other versions, so its bits may differ from those of a run "
            "left alone: %s",
            ", ".join(changed),
        )
    fit.resumed = True


def _compare(saved: Mapping[str, Any], now: Mapping[str, Any], label: str) -> None:
    different = [
        f"{name}: {saved.get(name)!r} then, {now.get(name)!r} now"
        for name in {**saved, **now}
        if saved.get(name) != now.get(name) and name not in MAY_DIFFER
    ]
    if different:
        raise StateError(
            f"{label} belongs to a run that was set up differently",
            expected="the settings that the run was started with",
            got="; ".join(different),
            fix="resume with the old settings, or start anew in another run_dir",
        )
    for name in MAY_DIFFER:
        if saved.get(name) != now.get(name):
            checkpoint.logger.warning(
                "the run was started with %s %r and goes on with %r: the last bits may differ",
                name,
                saved.get(name),
                now.get(name),
            )
