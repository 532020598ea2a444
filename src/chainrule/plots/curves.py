"""Curves over epochs and steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainrule.errors import DataError
from chainrule.plots.figure import COLOURS, INK, new_figure, plain_axes, save, whole_ticks

VALIDATION = "validation_"
NOT_DRAWN = {"epoch", "seconds", "learning_rate"}
PANELS_IN_A_ROW = 3


def learning_curves(
    history: Mapping[str, Sequence[float]], path: str | Path, *, best_epoch: int | None = None
) -> Path:
    """Draw loss and metrics over the epochs, training and validation in one panel each.

    Args:
        history: Columns with a value an epoch; ``validation_x`` is drawn with ``x``, or alone.
            ``epoch``, ``seconds`` and ``learning_rate`` are not drawn, nor is NaN.
        path: PNG file to write.
        best_epoch: Epoch (from 1) to mark; None: the one with the least ``validation_loss``, if
            there is such a column.

    Raises:
        DataError: There is no column to draw.
    """
    columns = {k: v for k, v in history.items() if k not in NOT_DRAWN and len(v)}
    names = list(dict.fromkeys(name.removeprefix(VALIDATION) for name in columns))
    if not names:
        raise DataError("there is nothing to draw", expected="a column such as loss", got="none")
    if best_epoch is None:
        best_epoch = _least(columns.get(VALIDATION + "loss", ()))
    wide = min(len(names), PANELS_IN_A_ROW)
    high = math.ceil(len(names) / wide)
    figure = new_figure(4.6 * wide, 3.4 * high)
    panels = figure.subplots(high, wide, squeeze=False).ravel()
    described = []
    for axes, name in zip(panels, names, strict=False):
        described += _draw_panel(axes, name, columns, best_epoch)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    n_epochs = max(map(len, columns.values()))
    text = f"Learning curves over {n_epochs} epochs: " + "; ".join(described)
    if best_epoch is not None:
        text += f"; epoch {best_epoch} is marked as the best"
    return save(figure, path, text)


def _draw_panel(
    axes: Any, name: str, columns: Mapping[str, Sequence[float]], best_epoch: int | None
) -> list[str]:
    """Draw one measure and say in words what was drawn."""
    described = []
    pairs = (("training", name), ("validation", VALIDATION + name))
    for (label, column), colour, style in zip(pairs, COLOURS, ("-", "--"), strict=False):
        if column not in columns:
            continue
        values = columns[column]
        marker = "o" if len(values) <= 20 else ""
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, style, color=colour, label=label, marker=marker, markersize=3)
        described.append(f"{label} {name} from {values[0]:.4g} to {values[-1]:.4g}")
    if best_epoch is not None:
        axes.axvline(best_epoch, color=INK, linewidth=1.0, linestyle=":", label="best epoch")
    plain_axes(axes, "epoch", name)
    whole_ticks(axes)
    axes.legend(frameon=False)
    return described


def _least(values: Sequence[float]) -> int | None:
    """Number, from 1, of the least finite value; None if there is none."""
    finite = [(value, epoch) for epoch, value in enumerate(values, 1) if math.isfinite(value)]
    return min(finite)[1] if finite else None


def schedule_curve(
    values: Sequence[float], path: str | Path | None = None, *, x_label: str = "step"
) -> Any:
    """Draw a learning-rate schedule.

    Args:
        values: The rate at each step.
        path: PNG file to write; None returns the matplotlib figure instead.
        x_label: What is counted: steps or epochs.

    Raises:
        DataError: There is no value.
    """
    if not len(values):
        raise DataError("there is nothing to draw", expected="a rate for each step", got="none")
    figure = new_figure(5.2, 3.0)
    axes = figure.subplots()
    axes.plot(range(len(values)), values, color=COLOURS[0], marker="o" if len(values) == 1 else "")
    plain_axes(axes, x_label, "learning rate")
    whole_ticks(axes)
    finite = [v for v in values if math.isfinite(v)]
    if min(finite, default=0.0) >= 0:  # rates are read from zero, and a wrong sign is not hidden
        axes.set_ylim(0, 1.05 * max(finite, default=1.0) or 1.0)
    if path is None:
        return figure
    ends = f"from {values[0]:.4g} to {values[-1]:.4g}"
    return save(figure, path, f"Learning rate over {len(values)} {x_label}s, {ends}")


def gradients_through_time(
    norms: Mapping[str, Sequence[float]], path: str | Path, *, step: int = -1
) -> Path:
    """Draw how gradients shrink or grow on their way back through time, on a logarithmic axis.

    Args:
        norms: Name of a model → a norm for each step, as ``insight.gradients_through_time`` gives
            them; at most as many as there are colours to tell apart, six.
        path: PNG file to write.
        step: The step whose output was asked about; later ones are not drawn.

    Raises:
        DataError: There is no model, or more than six.
    """
    if not 0 < len(norms) <= len(COLOURS):
        raise DataError(
            "there is nothing to draw, or too much for one picture",
            expected=f"1 to {len(COLOURS)} models",
            got=str(len(norms)),
        )
    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    described = []
    for colour, (name, values) in zip(COLOURS, norms.items(), strict=False):
        seen = [float(v) for v in values][: step % len(values) + 1][::-1]
        back = [n for n, v in enumerate(seen) if v > 0]
        axes.plot(back, [seen[n] for n in back], color=colour, label=name)
        described.append(f"{name} from {seen[0]:.3g} to {seen[-1]:.3g} over {len(seen)} steps")
    axes.set_yscale("log")
    plain_axes(axes, "steps back", "norm of the gradient by the input")
    axes.legend(frameon=False)
    return save(figure, path, "Gradients through time: " + "; ".join(described))
