"""Where attention looks: its weights as a picture between two texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.plots.figure import new_figure, save

MOST_TOKENS = 80  # on an axis; more are not legible


def attention_map(
    weights: Any,
    source: Sequence[str],
    target: Sequence[str],
    path: str | Path,
    *,
    title: str = "",
) -> Path:
    """Draw how much each step of the writer (rows) takes from each place of the source (columns).

    Args:
        weights: (target tokens, source tokens), each in [0, 1].
        source: The tokens that were read, at most 80.
        target: The token that each row's step wrote, at most 80.
        path: PNG file to write.
        title: Drawn above.

    Raises:
        ShapeError: The weights do not fit the tokens, or there are none, or too many.
        DataError: A weight lies outside [0, 1] or is not finite.
    """
    matrix = np.asarray(weights, np.float64)
    shape = (len(target), len(source))
    if matrix.shape != shape or not matrix.size or max(shape) > MOST_TOKENS:
        raise ShapeError(
            "the weights do not fit the tokens",
            expected=f"({len(target)}, {len(source)}), 1 to {MOST_TOKENS} tokens each",
            got=str(matrix.shape),
        )
    if not ((matrix >= 0) & (matrix <= 1 + 1e-5)).all():  # a NaN is neither
        raise DataError(
            "weights of attention are shares",
            expected="numbers in [0, 1]",
            got=f"{matrix.min()} to {matrix.max()}",
        )
    size = [min(1.6 + 0.24 * n, 14.0) for n in shape]
    figure = new_figure(size[1] + 0.8, size[0] + 0.4)
    axes = figure.subplots()
    picture = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    for axis, tokens, label in (
        (axes.xaxis, source, "source"),
        (axes.yaxis, target, "written"),
    ):
        # tokens are data: a dollar sign in them begins no formula
        axis.set_ticks(range(len(tokens)), [str(t) for t in tokens], parse_math=False, fontsize=8)
        axis.set_label_text(label)
        axis.set_tick_params(length=0)
    if title:
        axes.set_title(title, parse_math=False)
    figure.colorbar(picture, ax=axes, label="share", shrink=0.85)
    strongest = matrix.argmax(axis=1)
    pairs = ", ".join(f"{t} from {source[i]}" for t, i in zip(target, strongest, strict=True))
    return save(figure, path, f"Attention of {shape[0]} steps to {shape[1]} places: {pairs}")
