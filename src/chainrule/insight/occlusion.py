"""Occlusion: what the score loses when a part of the input is hidden."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.errors import ArgumentError
from chainrule.insight.probing import Target, as_inputs, chosen_targets, layer_outputs, scores_of
from chainrule.ops.origin import here


def _starts(size: int, window: int, stride: int) -> list[int]:
    """Where windows begin; a last one reaches the end."""
    starts = list(range(0, size - window + 1, stride))
    return starts if starts[-1] == size - window else [*starts, size - window]


def _windows(spatial: Sequence[int], window: Sequence[int], stride: int) -> list[tuple[slice, ...]]:
    along = [
        [slice(start, start + w) for start in _starts(n, w, stride)]
        for n, w in zip(spatial, window, strict=True)
    ]
    return list(itertools.product(*along))


def occlusion(
    model: nn.Module,
    x: Any,
    target: Target = None,
    *,
    window: int | Sequence[int] = 5,
    stride: int = 2,
    fill: float = 0.0,
    engine: str | None = None,
    batch_size: int = 256,
) -> np.ndarray:
    """What the target's score loses, on average, when a window that covers a place is hidden.

    It asks the model, not its derivative: a region that the model ignores gets exactly 0.

    Args:
        model: Any Module whose output is (batch, classes); asked in evaluation mode.
        x: (batch, channels, *spatial) inputs, (batch, height, width) or (batch, features).
        target: Class for all samples, one a sample, or None: each sample's largest output.
        window: Sizes of the hidden window: one an axis, for the last axes (all channels are hidden
            together); an int stands for all spatial axes.
        stride: Step between windows, ≥ 1; a last one always reaches the border.
        fill: What hides: the inputs' value for "nothing there".
        engine: As for ``cr.compile``.
        batch_size: Inputs at once, ≥ 1.

    Returns:
        (batch, *spatial): positive where the score needs the place.

    Raises:
        ArgumentError: The window does not fit into the input.

    Reference: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks",
    section 4.2.

    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight = np.array([[3.0, 0.0]], np.float32)
    >>> cr.insight.occlusion(layer, np.ones((1, 2)), window=1, stride=1).tolist()
    [[3.0, 0.0]]
    """
    values = as_inputs(model, x)
    n_axes = values.ndim - (2 if values.ndim > 3 else 1)
    sizes = (window,) * n_axes if isinstance(window, int) else tuple(window)
    spatial = values.shape[values.ndim - len(sizes) :]
    fits = 1 <= len(sizes) < values.ndim and all(
        1 <= w <= n for w, n in zip(sizes, spatial, strict=True)
    )
    if not fits or stride < 1:
        raise ArgumentError(
            "the window does not fit into the inputs",
            expected=f"sizes from 1 to those of the last axes of {values.shape}, stride ≥ 1",
            got=f"window={window}, stride={stride}",
            where=str(here()),
        )
    outputs = layer_outputs(model, values, [""], engine=engine, batch_size=batch_size)[0]
    targets = chosen_targets(outputs, target)
    scores = scores_of(outputs, targets)
    windows = _windows(spatial, sizes, stride)
    lost = np.zeros((len(values), *spatial), np.float64)
    covered = np.zeros(spatial, np.int64)
    for place in windows:
        covered[place] += 1
    # so many windows a call that a batch is filled, not all: copies of inputs take memory
    at_once = max(1, batch_size // len(values))
    for first in range(0, len(windows), at_once):
        places = windows[first : first + at_once]
        hidden = np.repeat(values[None], len(places), axis=0)
        for number, place in enumerate(places):
            hidden[number][(..., *place)] = fill
        flat = hidden.reshape(-1, *values.shape[1:])
        flat = np.resize(flat, (at_once * len(values), *values.shape[1:]))  # one signature
        found = layer_outputs(model, flat, [""], engine=engine, batch_size=batch_size)[0]
        for number, place in enumerate(places):
            rows = found[number * len(values) : (number + 1) * len(values)]
            drop = scores - scores_of(rows, targets)
            lost[(slice(None), *place)] += drop.reshape(-1, *[1] * len(spatial))
    return (lost / covered.clip(1)).astype(values.dtype)
