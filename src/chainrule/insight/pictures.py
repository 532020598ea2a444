"""Pictures of what this package finds, and a callback that leaves them in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn, plots
from chainrule.errors import ArgumentError, ShapeError
from chainrule.insight.activations import activations, filters, grad_cam
from chainrule.insight.fields import (
    Equivariance,
    box_of,
    measured_receptive_field,
    receptive_fields,
)
from chainrule.insight.occlusion import occlusion
from chainrule.insight.probing import Target, as_inputs, chosen_targets, layer_outputs, layer_shapes
from chainrule.insight.saliency import METHODS, saliency
from chainrule.insight.sanity import SanityCheck
from chainrule.ops.origin import here
from chainrule.plots import Cell
from chainrule.training.callbacks import Callback
from chainrule.training.fit import Fit

_DRAWN = (*METHODS, "grad_cam", "occlusion")


def draw_filters(
    model: nn.Module, layer: str, path: str | PathLike[str], *, max_images: int = 64
) -> Path:
    """Draw a layer's kernels, one picture for each pair of channels, on one scale.

    Args:
        model: Any Module.
        layer: Path of a convolution.
        path: PNG file to write.
        max_images: At most so many, the first ones.

    Raises:
        ShapeError: The weights form no pictures; ``plots.weight_images`` draws those of a full
            connection.
    """
    weight = filters(model, layer)
    if weight.ndim not in (3, 4):
        raise ShapeError(
            f"the filters of layer {layer!r} are no pictures",
            expected="(units, channels, height, width)",
            got=str(weight.shape),
            fix="cr.plots.weight_images(weights, path, image_shape=(28, 28))",
            where=str(here()),
        )
    title = f"filters of {layer}"
    return plots.image_grid(
        weight, Path(path), max_images=max_images, signed=True, title=title, what="kernels"
    )


def draw_activations(
    model: nn.Module,
    x: Any,
    layer: str,
    path: str | PathLike[str],
    *,
    max_images: int = 64,
    engine: str | None = None,
) -> Path:
    """Draw the maps that a layer gives, a row for each sample where they fit.

    Args:
        model: Any Module.
        x: (batch, ...).
        layer: Path of a layer with maps, (batch, channels, height, width).
        path: PNG file to write.
        max_images: At most so many maps.
        engine: As for ``cr.compile``.

    Raises:
        ShapeError: The layer gives no maps.
    """
    maps = activations(model, x, layer, engine=engine)
    if maps.ndim != 4:
        raise ShapeError(
            f"layer {layer!r} gives no maps",
            expected="(batch, channels, height, width)",
            got=str(maps.shape),
            where=str(here()),
        )
    flat = maps.reshape(-1, *maps.shape[2:])
    columns = maps.shape[1] if len(maps) > 1 else None
    return plots.image_grid(
        flat, Path(path), columns=columns, max_images=max_images, title=f"activations of {layer}",
        what="maps",
    )  # fmt: skip


def draw_saliency(
    model: nn.Module,
    x: Any,
    path: str | PathLike[str],
    *,
    target: Target = None,
    methods: Sequence[str] = ("gradient", "smooth_grad", "integrated_gradients"),
    class_names: Sequence[str] | None = None,
    engine: str | None = None,
) -> Path:
    """Draw inputs beside what matters in them, a column for each method.

    Saliency and occlusion: blue speaks for the target, red against it. Grad-CAM: yellow is where
    the class is seen. Every picture has a scale of its own.

    Args:
        model: A Module whose output is (batch, classes).
        x: (batch, height, width) or (batch, channels, height, width).
        path: PNG file to write.
        target: Class for all samples, one a sample, or None: each sample's largest output.
        methods: Of ``saliency``, and ``"grad_cam"`` and ``"occlusion"``.
        class_names: Names of the targets beside the rows; None: their numbers.
        engine: As for ``cr.compile``.

    Raises:
        ArgumentError: There is no such method.
        ShapeError: The inputs are no pictures.
    """
    values = as_inputs(model, x)
    unknown = [name for name in methods if name not in _DRAWN]
    if unknown or values.ndim not in (3, 4):
        error = ArgumentError if unknown else ShapeError
        raise error(
            f"draw_saliency has no method {unknown[0]!r}"
            if unknown
            else "the inputs are no images",
            expected=", ".join(_DRAWN)
            if unknown
            else "(batch, height, width), with channels or not",
            got=repr(unknown[0]) if unknown else str(values.shape),
            where=str(here()),
        )
    targets = chosen_targets(layer_outputs(model, values, [""], engine=engine)[0], target)
    maps = [_drawn(name, model, values, targets, engine) for name in methods]
    cells = [
        [
            Cell(image),
            *(
                Cell(m[i], "heat", image) if name == "grad_cam" else Cell(m[i], "signed")
                for name, m in zip(methods, maps, strict=True)
            ),
        ]
        for i, image in enumerate(values)
    ]
    rows = [str(t) if class_names is None else class_names[t] for t in targets]
    columns = ["input", *(name.replace("_", " ") for name in methods)]
    return plots.picture_table(
        cells,
        Path(path),
        column_names=columns,
        row_names=rows,
        title="what speaks for the class named on the left",
    )


def _drawn(
    name: str, model: nn.Module, x: np.ndarray, targets: np.ndarray, engine: str | None
) -> np.ndarray:
    if name == "grad_cam":
        return grad_cam(model, x, targets, engine=engine)
    if name == "occlusion":
        return occlusion(model, x, targets, engine=engine, fill=float(x.min()))
    return saliency(model, x, targets, name, engine=engine)


def draw_sanity_checks(
    checks: dict[str, SanityCheck], path: str | PathLike[str], *, sample: int = 0
) -> Path:
    """Draw one sample's saliency while layer after layer becomes random: a row for each method.

    Under each picture's column stands the layer; beside each row, where its correlation ended.

    Args:
        checks: By name of the method; all of one model.
        path: PNG file to write.
        sample: Which sample to draw.
    """
    first = next(iter(checks.values()))
    cells = []
    for check in checks.values():
        shown = [np.abs(m[sample]) for m in check.maps]
        cells.append([Cell(m, "heat") for m in shown])
    rows = [f"{name.replace('_', ' ')} ({c.correlations[-1]:.2f})" for name, c in checks.items()]
    return plots.picture_table(
        cells,
        Path(path),
        column_names=["trained", *(f"…{layer}" for layer in first.layers)],
        row_names=rows,
        title="saliency as layers are randomised, output first (last rank correlation)",
    )


def draw_receptive_fields(
    model: nn.Module,
    input_shape: Sequence[int],
    path: str | PathLike[str],
    *,
    layers: Sequence[str] | None = None,
    engine: str | None = None,
) -> Path:
    """Draw what the middle unit of each layer sees: measured by gradients, framed by the computed.

    Args:
        model: A Module of pictures.
        input_shape: Of one sample, (channels, height, width).
        path: PNG file to write.
        layers: Paths; None: all with maps that see a part of the input, each size once.
        engine: As for ``cr.compile``.
    """
    fields = receptive_fields(model, input_shape)
    chosen = list(layers) if layers is not None else _growing(fields)
    if not chosen or len(input_shape) != 3:
        raise ArgumentError(
            f"{type(model).__name__} has no layer whose units see a part of a picture",
            expected="a convolutional net, input_shape (channels, height, width)",
            got=f"input_shape={tuple(input_shape)}",
            where=str(here()),
        )
    cells, names = [], []
    for layer in chosen:
        field = fields[layer]
        measured = measured_receptive_field(model, layer, input_shape, engine=engine)
        middle = tuple(n // 2 for n in field.output_shape[2:])
        region = field.region(middle)
        agree = box_of(measured) == region
        picture = np.full(measured.shape, np.nan)  # grey: out of sight
        picture[region] = measured[region] / (measured.max() or 1.0)
        cells.append(Cell(picture, "heat"))
        size = " × ".join(str(place.stop - place.start) for place in region)
        names.append(f"{layer}\n{size}" + ("" if agree else "\nmeasured smaller"))
    return plots.picture_table(
        [cells],
        Path(path),
        column_names=names,
        title="what the middle unit sees",
        description="Receptive fields, computed and measured: "
        + "; ".join(name.replace("\n", " ") for name in names),
    )


def _growing(fields: dict[str, Any]) -> list[str]:
    """The layers with maps where the field becomes another one."""
    chosen: list[str] = []
    last = None
    for layer, field in fields.items():
        if layer and None not in field.size and len(field.output_shape) == 4 and field.size != last:
            chosen.append(layer)
            last = field.size
    return chosen


def draw_equivariance(
    result: Equivariance, path: str | PathLike[str], *, sample: int = 0, channels: int = 4
) -> Path:
    """Draw f(shifted x), shifted f(x) and their difference, a row for each of some channels.

    Args:
        result: Of ``translation_equivariance`` on pictures.
        path: PNG file to write.
        sample: Which sample to draw.
        channels: How many of the layer's channels, ≥ 1.
    """
    cells = []
    shown = min(channels, result.moved_first.shape[1])
    for channel in range(shown):
        a, b = result.moved_first[sample, channel], result.moved_last[sample, channel]
        # the difference on the scale of the maps: rounding must not look like a pattern
        scale = float(np.abs(a).max()) or 1.0
        gap = np.where(np.abs(a - b) < 1e-4 * scale, 0.0, a - b)
        cells.append([Cell(a, "heat"), Cell(b, "heat"), Cell(gap, "signed")])
    moved = f"layer {result.layer}, input moved by {result.shift}"
    errors = f"{result.error:.1e} inside, {result.border_error:.1e} with borders"
    return plots.picture_table(
        cells,
        Path(path),
        column_names=["shift, then layers", "layers, then shift", "difference"],
        row_names=[f"channel {i}" for i in range(shown)],
        title=f"{moved}: error {errors}",
    )


class InsightPictures(Callback):
    """Pictures of what a model has learned, drawn when training ends, best weights back.

    ``filters_LAYER.png`` and ``activations_LAYER.png`` of the first convolutions,
    ``saliency.png`` (with Grad-CAM where there are maps) and ``receptive_fields.png``; for a
    network without convolutions the saliency alone.

    Args:
        x: (batch, ...) inputs to look at, a few.
        folder: Where they go; made if it is not there. None: ``insight`` in the run folder.
        n_layers: How many convolutions to draw.
        class_names: Names of the classes; None: numbers.
    """

    priority = 60

    def __init__(
        self,
        x: Any,
        folder: str | PathLike[str] | None = None,
        n_layers: int = 2,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.x = np.asarray(x)
        self.folder = None if folder is None else Path(folder)
        self.n_layers = n_layers
        self.class_names = class_names

    def on_fit_begin(self, fit: Fit) -> None:
        """Check that there is a place for the pictures.

        Raises:
            ArgumentError: No folder was named, and the run has none.
        """
        if self.folder is None and fit.folder is None:
            raise ArgumentError(
                "InsightPictures has no folder to draw into",
                fix="InsightPictures(x, folder) or fit(..., run_dir=...)",
                where=str(here()),
            )

    def on_fit_end(self, fit: Fit) -> None:
        """Draw, if an epoch has ended."""
        folder = self.folder
        if folder is None and fit.folder is not None:
            folder = fit.folder.path / "insight"
        if folder is not None and fit.history.n_epochs:
            draw_all(
                fit.model, self.x, folder, n_layers=self.n_layers, class_names=self.class_names
            )


def draw_all(
    model: nn.Module,
    x: Any,
    folder: str | PathLike[str],
    *,
    n_layers: int = 2,
    class_names: Sequence[str] | None = None,
    engine: str | None = None,
) -> list[Path]:
    """Draw filters, activations, saliency and receptive fields into a folder.

    Args:
        model: A Module of pictures whose output is (batch, classes).
        x: (batch, height, width) or (batch, channels, height, width): a few.
        folder: Made if it is not there.
        n_layers: How many convolutions to draw, the first ones.
        class_names: Names of the classes; None: numbers.
        engine: As for ``cr.compile``.

    Returns:
        The files.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    modules = dict(model.named_modules())
    shapes = layer_shapes(model, x)
    kernels = [
        path
        for path, shape in shapes.items()
        if len(shape) == 4 and isinstance(modules.get(path), nn.Conv2d)
    ]
    files = []
    for layer in kernels[:n_layers]:
        files.append(draw_filters(model, layer, target / f"filters_{layer}.png"))
        files.append(
            draw_activations(model, x, layer, target / f"activations_{layer}.png", engine=engine)
        )
    methods = ["gradient", "smooth_grad", "integrated_gradients", "occlusion"]
    if kernels:
        methods.append("grad_cam")
    files.append(
        draw_saliency(
            model, x, target / "saliency.png", methods=methods, class_names=class_names,
            engine=engine,
        )
    )  # fmt: skip
    input_shape = np.shape(x)[1:]
    if len(input_shape) == 3 and _growing(receptive_fields(model, input_shape)):
        files.append(
            draw_receptive_fields(
                model, input_shape, target / "receptive_fields.png", engine=engine
            )
        )
    return files
