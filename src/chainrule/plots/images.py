"""Matrices and weights as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.plots.figure import INK, new_figure, save


def confusion_matrix(
    matrix: Any, class_names: Sequence[str], path: str | Path, *, title: str = ""
) -> Path:
    """Draw how often each true class (rows) was taken for each class (columns).

    The colour is the share of the true class; the numbers are counts.

    Args:
        matrix: (n_classes, n_classes) counts.
        class_names: One a class.
        path: PNG file to write.
        title: Drawn above.

    Raises:
        ShapeError: The matrix does not fit the names.
    """
    counts = np.asarray(matrix)
    n = len(class_names)
    if counts.shape != (n, n):
        raise ShapeError(
            "the confusion matrix does not fit the class names",
            expected=f"({n}, {n})",
            got=str(counts.shape),
        )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.46 * n
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(n), class_names, rotation=45 if max(map(len, class_names)) > 3 else 0)
    axes.set_yticks(range(n), class_names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if title:
        axes.set_title(title)
    if n <= 30:
        for i, j in np.ndindex(n, n):
            if counts[i, j]:
                colour = "white" if share[i, j] > 0.6 else INK
                axes.text(
                    j, i, f"{int(counts[i, j])}", ha="center", va="center", fontsize=7, color=colour
                )
    figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.85)
    right = np.trace(counts) / max(counts.sum(), 1)
    return save(figure, path, f"Confusion matrix of {n} classes, {right:.2%} on the diagonal")


def weight_images(
    weights: Any,
    path: str | Path,
    *,
    image_shape: tuple[int, int] | None = None,
    max_images: int = 64,
    title: str = "",
) -> Path:
    """Draw a layer's weights: a picture for each unit, or one map of the whole matrix.

    Zero is white, positive weights blue, negative ones red, on one scale for all units.

    Args:
        weights: (units, inputs).
        path: PNG file to write.
        image_shape: (rows, columns) that a unit's inputs form; None draws the matrix as a map.
        max_images: At most so many units, the first ones.
        title: Drawn above.

    Raises:
        ShapeError: The inputs do not fill ``image_shape``.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2 or (image_shape and matrix.shape[1] != math.prod(image_shape)):
        raise ShapeError(
            "these weights are no pictures",
            expected=f"(units, {math.prod(image_shape)})" if image_shape else "(units, inputs)",
            got=str(matrix.shape),
        )
    # the 99.5th percentile: a few large weights must not turn all others white
    limit = float(np.quantile(np.abs(matrix), 0.995)) if matrix.size else 1.0
    style = {"cmap": "RdBu", "vmin": -(limit or 1.0), "vmax": limit or 1.0}
    if image_shape is None:
        return _draw_map(matrix, style, path, title)
    shown = min(len(matrix), max_images)
    columns = math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    figure = new_figure(0.85 * columns + 1.0, 0.85 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, axes in enumerate(grid.ravel()):
        axes.set_axis_off()
        if number < shown:
            picture = axes.imshow(matrix[number].reshape(image_shape), **style)
    figure.colorbar(picture, ax=grid, label="weight", shrink=0.7)
    figure.suptitle(title or f"weights of {shown} of {len(matrix)} units")
    return save(
        figure, path, f"Incoming weights of {shown} of {len(matrix)} units as {image_shape} images"
    )


def _draw_map(matrix: np.ndarray, style: dict[str, Any], path: str | Path, title: str) -> Path:
    units, inputs = matrix.shape
    figure = new_figure(7.0, min(max(1.8 + 5.0 * units / max(inputs, 1), 2.4), 7.0))
    axes = figure.subplots()
    picture = axes.imshow(matrix, aspect="auto", interpolation="nearest", **style)
    axes.set_xlabel("input")
    axes.set_ylabel("unit")
    axes.set_title(title or f"weights, {units} × {inputs}")
    figure.colorbar(picture, ax=axes, label="weight")
    return save(figure, path, f"Map of {units} × {inputs} weights")
