"""Matrices and weights as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DataError, ShapeError
from chainrule.plots.figure import INK, new_figure, save

LARGEST_INCHES = 14.0
LEAST_PIXELS = 20  # of a unit's image
MOST_CLASSES_WITH_COUNTS = 25  # more do not fit legibly
MOST_CLASSES_WITH_NAMES = 60


def confusion_matrix(
    matrix: Any, class_names: Sequence[str], path: str | Path, *, title: str = ""
) -> Path:
    """Draw how often each true class (rows) was taken for each class (columns).

    The colour is the share of the true class; the numbers are counts.

    Args:
        matrix: (n_classes, n_classes) counts.
        class_names: One a class; drawn as they are, by numbers if there are more than 60.
        path: PNG file to write.
        title: Drawn above.

    Raises:
        ShapeError: The matrix does not fit the names, or there is none.
        DataError: A count is negative or not finite.
    """
    counts = np.asarray(matrix)
    n = len(class_names)
    if not n or counts.shape != (n, n):
        raise ShapeError(
            "the confusion matrix does not fit the class names",
            expected=f"({n}, {n})" if n else "at least one class",
            got=str(counts.shape),
        )
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise DataError(
            "a confusion matrix counts samples",
            expected="finite numbers ≥ 0",
            got=f"{counts.min()} to {counts.max()}",
        )
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    size = min(2.2 + 0.46 * n, LARGEST_INCHES)
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    _name_classes(axes, [str(name) for name in class_names])
    if title:
        axes.set_title(title, parse_math=False)
    if n <= MOST_CLASSES_WITH_COUNTS:
        _write_counts(axes, counts, share)
    figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.85)
    right = np.trace(counts) / (counts.sum() or 1)
    return save(figure, path, f"Confusion matrix of {n} classes, {right:.2%} on the diagonal")


def _name_classes(axes: Any, names: list[str]) -> None:
    """Label both axes; names are data, so a dollar sign in them begins no formula."""
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(names) > MOST_CLASSES_WITH_NAMES:
        return  # numbers here and there
    text = {"parse_math": False, "fontsize": 10 if len(names) <= MOST_CLASSES_WITH_COUNTS else 7}
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    short = max(map(len, names)) <= 3
    axes.set_xticks(range(len(names)), names, **text, **({} if short else slanted))
    axes.set_yticks(range(len(names)), names, **text)


def _write_counts(axes: Any, counts: np.ndarray, share: np.ndarray) -> None:
    for i, j in np.argwhere(counts):
        colour = "white" if share[i, j] > 0.6 else INK
        number = f"{counts[i, j]:.4g}" if counts[i, j] % 1 else f"{int(counts[i, j])}"
        axes.text(j, i, number, ha="center", va="center", fontsize=7, color=colour)


def weight_images(
    weights: Any,
    path: str | Path,
    *,
    image_shape: tuple[int, int] | None = None,
    max_images: int = 64,
    title: str = "",
) -> Path:
    """Draw a layer's weights: a picture for each unit, or one map of the whole matrix.

    Zero is white, positive weights blue, negative ones red, on one scale for all units; what is
    not finite is grey.

    Args:
        weights: (units, inputs).
        path: PNG file to write.
        image_shape: (rows, columns) that a unit's inputs form; None draws the matrix as a map.
        max_images: At most so many units, the first ones.
        title: Drawn above.

    Raises:
        ShapeError: There are no weights, or the inputs do not fill ``image_shape``.
        ArgumentError: ``max_images`` is below 1.
    """
    if max_images < 1:
        raise ArgumentError("max_images is too small", expected="at least 1", got=f"{max_images}")
    matrix = np.asarray(weights, dtype=np.float64)
    if (
        matrix.ndim != 2
        or not matrix.size
        or (image_shape and matrix.shape[1] != math.prod(image_shape))
    ):
        raise ShapeError(
            "these weights are no pictures",
            expected=f"(units, {math.prod(image_shape)})" if image_shape else "(units, inputs)",
            got=str(matrix.shape),
        )
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    style = diverging(matrix)
    if image_shape is None:
        return _draw_map(matrix, style, path, title)
    shown = min(len(matrix), max_images)
    columns = math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    side = max(0.85, 1.7 / columns)  # inches; a single picture still has room for its title
    figure = new_figure(side * columns + 1.0, side * rows + 0.5)
    axes = figure.subplots()
    axes.set_axis_off()
    scale = ScalarMappable(Normalize(style["vmin"], style["vmax"]), style["cmap"])
    images = scale.to_rgba(matrix[:shown].reshape(shown, -1)).reshape(shown, *image_shape, 4)
    axes.imshow(mosaic(images, columns), interpolation="nearest")
    figure.colorbar(scale, ax=axes, label="weight", shrink=0.8, aspect=8 * rows)
    units = (
        f"{shown} of {len(matrix)} units"
        if shown < len(matrix)
        else f"{shown} unit{'s' * (shown > 1)}"
    )
    figure.suptitle(title or f"weights of {units}", parse_math=False)
    size = f"{image_shape[0]} × {image_shape[1]}"
    text = f"Incoming weights of {shown} of {len(matrix)} units as images of {size}"
    return save(figure, path, text + _not_finite(matrix))


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """(n, height, width, 4) images in rows of ``columns``, a white gap around each.

    One picture of them all takes a fraction of the time of axes of their own.

    Args:
        images: Colours with opacity, in [0, 1].
        columns: Images in a row.
    """
    finer = -(-LEAST_PIXELS // min(images.shape[1:3]))  # so that the gap is a thin one
    images = images.repeat(finer, axis=1).repeat(finer, axis=2)
    height, width = (size + max(2, size // 10) for size in images.shape[1:3])
    rows = -(-len(images) // columns)
    whole = np.ones((rows * height, columns * width, 4))
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        whole[top : top + image.shape[0], left : left + image.shape[1]] = image
    return whole


def diverging(matrix: np.ndarray) -> dict[str, Any]:
    """Red to blue through white at zero, as keyword arguments of ``imshow``.

    Args:
        matrix: The numbers to be drawn, any shape.
    """
    from matplotlib import colormaps

    # the 99.5th percentile: a few large weights must not turn all others white
    finite = np.abs(matrix[np.isfinite(matrix)])
    limit = float(np.quantile(finite, 0.995)) if finite.size else 0.0
    limit = limit or float(finite.max(initial=0.0)) or 1.0
    colours = colormaps["RdBu"].with_extremes(bad="#999999")
    return {"cmap": colours, "vmin": -limit, "vmax": limit}


def _not_finite(matrix: np.ndarray) -> str:
    count = int((~np.isfinite(matrix)).sum())
    return f"; {count} weights are not finite" if count else ""


def _draw_map(matrix: np.ndarray, style: dict[str, Any], path: str | Path, title: str) -> Path:
    units, inputs = matrix.shape
    figure = new_figure(7.0, min(max(1.8 + 5.0 * units / max(inputs, 1), 2.4), 7.0))
    axes = figure.subplots()
    picture = axes.imshow(matrix, aspect="auto", interpolation="nearest", **style)
    axes.set_xlabel("input")
    axes.set_ylabel("unit")
    axes.set_title(title or f"weights, {units} × {inputs}", parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    figure.colorbar(picture, ax=axes, label="weight")
    return save(figure, path, f"Map of {units} × {inputs} weights" + _not_finite(matrix))
