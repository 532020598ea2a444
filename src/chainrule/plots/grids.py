"""Many small pictures in one: grids of filters and activations, tables of inputs and their maps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DataError, ShapeError
from chainrule.plots.figure import COLOURS, INK, new_figure, plain_axes, save
from chainrule.plots.images import LARGEST_INCHES, diverging, mosaic

HEAT = "cividis"  # even in lightness and told apart with any colour vision
CHARACTERS_PER_INCH = 10  # of a title
KINDS = ("grey", "signed", "heat")


def image_grid(
    images: Any,
    path: str | Path,
    *,
    columns: int | None = None,
    max_images: int = 64,
    signed: bool | None = None,
    title: str = "",
    what: str = "images",
) -> Path:
    """Draw many pictures of one size on one scale: filters, activations, samples.

    Signed numbers run from red through white (0) to blue, others from dark blue to yellow. Three
    channels of numbers ≥ 0 are drawn as colours.

    Args:
        images: (n, height, width) or (n, channels, height, width). With other than one or three
            channels every channel is a picture of its own, those of one unit in a row.
        path: PNG file to write.
        columns: Pictures in a row; None: about as many as rows.
        max_images: At most so many, the first ones; ≥ 1.
        signed: Whether 0 is in the middle of the scale; None: if there are negative numbers.
        title: Drawn above.
        what: What the pictures are, for the title and the text alternative.

    Raises:
        ShapeError: Not pictures, or none.
        ArgumentError: ``columns`` or ``max_images`` is below 1.
    """
    values = np.asarray(images, dtype=np.float64)
    if values.ndim not in (3, 4) or not values.size:
        raise ShapeError(
            "these are no pictures",
            expected="(n, height, width) or (n, channels, height, width)",
            got=str(values.shape),
        )
    if max_images < 1 or (columns is not None and columns < 1):
        raise ArgumentError(
            "a grid has at least one picture",
            expected="max_images ≥ 1 and columns ≥ 1",
            got=f"max_images={max_images}, columns={columns}",
        )
    two_sided = bool((values < 0).any()) if signed is None else signed
    coloured = values.ndim == 4 and values.shape[1] == 3 and not two_sided
    if values.ndim == 4 and not coloured:
        if values.shape[1] > 1 and columns is None:
            columns = min(values.shape[1], max_images)
        values = values.reshape(-1, *values.shape[2:])
    shown = values[:max_images]
    across = columns or math.ceil(math.sqrt(len(shown)))
    across = min(across, len(shown))
    down = math.ceil(len(shown) / across)
    ratio = shown.shape[-2] / shown.shape[-1]
    side = min(max(1.0, 2.2 / across), LARGEST_INCHES / across, LARGEST_INCHES / (down * ratio))
    # a colour scale and a title need room, whatever the pictures take
    figure = new_figure(max(side * across + 1.0, 3.0), max(side * down * ratio + 0.6, 1.8))
    axes = figure.subplots()
    axes.set_axis_off()
    if coloured:
        drawn = _rgba(shown)
    else:
        scale = _scale(values, "signed" if two_sided else "heat")
        drawn = scale.to_rgba(shown.reshape(len(shown), -1)).reshape(*shown.shape, 4)
        figure.colorbar(scale, ax=axes, shrink=0.85, aspect=max(8, 8 * down))
    axes.imshow(mosaic(drawn, across), interpolation="nearest")
    count = f"{len(shown)} of {len(values)}" if len(shown) < len(values) else f"{len(shown)}"
    figure.suptitle(title or f"{count} {what}", parse_math=False)
    size = f"{shown.shape[-2]} × {shown.shape[-1]}"
    text = f"{title + ': ' if title else ''}{count} {what} of {size}"
    return save(figure, path, f"{text}, from {values.min():.3g} to {values.max():.3g}")


def _scale(values: np.ndarray, kind: str) -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if kind == "signed":
        style = diverging(values)
        return ScalarMappable(Normalize(style["vmin"], style["vmax"]), style["cmap"])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low = min(low, 0.0) if kind == "heat" else low
    colours = colormaps[HEAT if kind == "heat" else "gray"].with_extremes(bad="#999999")
    return ScalarMappable(Normalize(low, high if high > low else low + 1.0), colours)


def _rgba(pictures: np.ndarray) -> np.ndarray:
    """(n, 3, height, width) → (n, height, width, 4), the largest number as 1."""
    top = float(pictures.max()) or 1.0
    colours = np.clip(np.moveaxis(pictures, 1, -1) / top, 0, 1)
    return np.concatenate([colours, np.ones((*colours.shape[:-1], 1))], axis=-1)


@dataclass(frozen=True)
class Cell:
    """One picture of a table, on a scale of its own.

    Args:
        values: (height, width), or (channels, height, width): three channels of grey kind are
            colours, others are averaged (grey, heat) or added up (signed).
        kind: ``"grey"``, ``"signed"`` (red, white at 0, blue) or ``"heat"`` (dark blue to yellow).
        under: (height, width) or (channels, height, width) shown in grey through the heat, or None.
    """

    values: np.ndarray
    kind: str = "grey"
    under: np.ndarray | None = None

    def colours(self) -> np.ndarray:
        """(height, width, 4) colours."""
        values = np.asarray(self.values, np.float64)
        if self.kind not in KINDS or values.ndim not in (2, 3):
            raise ArgumentError(
                "a cell is no picture",
                expected=f"{' or '.join(KINDS)}, of two or three axes",
                got=f"{self.kind!r}, {values.shape}",
            )
        if values.ndim == 3 and values.shape[0] == 3 and self.kind == "grey":
            return _rgba((values - values.min())[None])[0]
        if values.ndim == 3:
            values = values.sum(axis=0) if self.kind == "signed" else values.mean(axis=0)
        drawn = np.asarray(_scale(values, self.kind).to_rgba(values))
        if self.under is not None:
            below = _resized(Cell(self.under).colours(), values.shape)
            # in grey: colours of the input would mix with those of the heat
            below = below[..., :3].mean(axis=2, keepdims=True)
            drawn[..., :3] = 0.7 * drawn[..., :3] + 0.3 * below
        return drawn


def _resized(picture: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Nearest neighbours: what is coarse shall look coarse."""
    rows, columns = (
        (np.arange(n) * old / n).astype(int) for n, old in zip(size, picture.shape, strict=False)
    )
    return picture[rows][:, columns]


def picture_table(
    cells: Sequence[Sequence[Cell]],
    path: str | Path,
    *,
    column_names: Sequence[str],
    row_names: Sequence[str] = (),
    title: str = "",
    description: str = "",
) -> Path:
    """Draw pictures in rows and columns with names: inputs beside their saliency, for instance.

    Args:
        cells: Rows of as many cells as there are column names.
        path: PNG file to write.
        column_names: Drawn above the columns.
        row_names: Drawn left of the rows; empty for none.
        title: Drawn above all.
        description: For those who can not see it; empty: made of title and names.

    Raises:
        ShapeError: The names do not fit the cells, or there are none.
    """
    n_columns = len(column_names)
    if not cells or any(len(row) != n_columns for row in cells) or not n_columns:
        raise ShapeError(
            "the names do not fit the table",
            expected=f"rows of {n_columns} cells, at least one",
            got=f"{[len(row) for row in cells]}",
        )
    if row_names and len(row_names) != len(cells):
        raise ShapeError(
            "the row names do not fit the table", expected=str(len(cells)), got=str(len(row_names))
        )
    drawn = [[cell.colours() for cell in row] for row in cells]
    size = np.max([[picture.shape[:2] for picture in row] for row in drawn], axis=(0, 1))
    flat = np.stack([_resized(picture, size) for row in drawn for picture in row])
    whole = mosaic(flat, n_columns)
    side = min(1.5, LARGEST_INCHES / n_columns, LARGEST_INCHES / len(cells))
    ratio = float(size[0] / size[1])
    margin = 0.4 + 0.09 * max((len(str(name)) for name in row_names), default=0)
    figure = new_figure(side * n_columns + margin, side * ratio * len(cells) + 0.8)
    axes = figure.subplots()
    axes.imshow(whole, interpolation="nearest", aspect="auto")
    height, width = whole.shape[0] / len(cells), whole.shape[1] / n_columns
    gap = (width - width / 1.1) / 2 if size.min() > 1 else 0.0
    text: dict[str, Any] = {"parse_math": False, "fontsize": 9, "color": INK}
    centres = [(i + 0.5) * width - gap for i in range(n_columns)]
    axes.set_xticks(centres, [str(name) for name in column_names], **text)
    axes.xaxis.tick_top()
    rows = [(i + 0.5) * height - gap for i in range(len(row_names))]
    axes.set_yticks(rows, [str(name) for name in row_names], **text)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        per_line = int(CHARACTERS_PER_INCH * figure.get_figwidth())
        figure.suptitle(textwrap.fill(title, per_line), parse_math=False)
    names = f"columns {', '.join(map(str, column_names))}"
    if row_names:
        names += f"; rows {', '.join(map(str, row_names))}"
    return save(figure, path, description or f"{title or 'Pictures'}: {names}")


def correlation_lines(
    names: Sequence[str],
    lines: dict[str, Sequence[float]],
    path: str | Path,
    *,
    limit: float | None = None,
    x_label: str = "randomised down to layer",
    y_label: str = "rank correlation",
    title: str = "",
) -> Path:
    """Draw how alike pictures stay, one line a method.

    Args:
        names: Along the horizontal axis.
        lines: By method, one number a name, in [−1, 1].
        path: PNG file to write.
        limit: A dashed line where passing begins; None for none.
        x_label: Under the axis.
        y_label: Beside the axis.
        title: Drawn above.

    Raises:
        DataError: A line has not one number a name, or there is none.
    """
    if not lines or not names or any(len(line) != len(names) for line in lines.values()):
        raise DataError(
            "there is nothing to draw, or not one number a name",
            expected=f"{len(names)} numbers a line, at least one",
            got=str({name: len(line) for name, line in lines.items()}),
        )
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    plain_axes(axes, x_label, y_label)
    for number, (name, line) in enumerate(lines.items()):
        # markers too: colour alone tells nothing to some
        marker = "osD^vP"[number % 6]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(range(len(names)), line, marker=marker, color=colour, label=name, clip_on=False)
    if limit is not None:
        axes.axhline(limit, color=INK, linestyle="--", linewidth=1)
        axes.annotate(
            "limit", (len(names) - 1, limit), (0, 3), textcoords="offset points", ha="right"
        )
    axes.set_xticks(range(len(names)), [str(name) for name in names], parse_math=False)
    axes.set_ylim(min(-0.2, *(min(line) for line in lines.values())) - 0.02, 1.05)
    axes.legend(frameon=False)
    if title:
        axes.set_title(title, parse_math=False)
    ends = ", ".join(f"{name} ends at {line[-1]:.2f}" for name, line in lines.items())
    return save(figure, path, f"{title or y_label}: {ends}")
