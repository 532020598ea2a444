"""Curves over epochs and steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainrule.errors import DataError
from chainrule.plots.figure import COLOURS, INK, new_figure, plain_axes, save

VALIDATION = "validation_"


def learning_curves(
    history: Mapping[str, Sequence[float]], path: str | Path, *, best_epoch: int | None = None
) -> Path:
    """Draw loss and metrics over the epochs, training and validation in one panel each.

    Args:
        history: Columns of one length, a value an epoch; ``validation_x`` is drawn with ``x``.
            ``epoch``, ``seconds`` and ``learning_rate`` are not drawn.
        path: PNG file to write.
        best_epoch: Epoch (from 1) to mark.

    Raises:
        DataError: There is no column to draw.
    """
    left_out = {"epoch", "seconds", "learning_rate"}
    names = [
        name
        for name, values in history.items()
        if not name.startswith(VALIDATION) and name not in left_out and len(values)
    ]
    if not names:
        raise DataError("there is nothing to draw", expected="a column such as loss", got="none")
    figure = new_figure(4.6 * len(names), 3.4)
    described = []
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        lines = [("training", history[name])]
        if VALIDATION + name in history:
            lines.append(("validation", history[VALIDATION + name]))
        for (label, values), colour, style in zip(lines, COLOURS, ("-", "--"), strict=False):
            epochs = range(1, len(values) + 1)
            marker = "o" if len(values) <= 20 else ""
            axes.plot(epochs, values, style, color=colour, label=label, marker=marker, markersize=3)
            described.append(f"{label} {name} from {values[0]:.4g} to {values[-1]:.4g}")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=":", label="best epoch")
        plain_axes(axes, "epoch", name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
    text = f"Learning curves over {len(history[names[0]])} epochs: " + "; ".join(described)
    return save(figure, path, text)


def schedule_curve(
    values: Sequence[float], path: str | Path | None = None, *, x_label: str = "step"
) -> Any:
    """Draw a learning-rate schedule.

    Args:
        values: The rate at each step.
        path: PNG file to write; None returns the matplotlib figure instead.
        x_label: What is counted: steps or epochs.
    """
    figure = new_figure(5.2, 3.0)
    axes = figure.subplots()
    axes.plot(range(len(values)), values, color=COLOURS[0])
    plain_axes(axes, x_label, "learning rate")
    finite = [v for v in values if math.isfinite(v)]
    axes.set_ylim(0, 1.05 * max(finite, default=1.0) or 1.0)
    if path is None:
        return figure
    ends = f"from {values[0]:.4g} to {values[-1]:.4g}" if len(values) else "empty"
    return save(figure, path, f"Learning rate over {len(values)} {x_label}s, {ends}")
