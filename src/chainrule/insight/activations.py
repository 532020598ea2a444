"""What layers hold and give: activations of any layer, filters, Grad-CAM's class maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from chainrule import nn
from chainrule.array import asarray
from chainrule.errors import ArgumentError
from chainrule.insight.probing import (
    Target,
    as_inputs,
    checked_layer,
    chosen_targets,
    layer_outputs,
    layer_shapes,
    one_hot_weights,
    pull_back,
)
from chainrule.nn.functional import interpolate
from chainrule.ops.origin import here


@overload
def activations(
    model: nn.Module, x: Any, layers: str, *, engine: str | None = None, batch_size: int = 128
) -> np.ndarray: ...


@overload
def activations(
    model: nn.Module,
    x: Any,
    layers: Sequence[str] | None = None,
    *,
    engine: str | None = None,
    batch_size: int = 128,
) -> dict[str, np.ndarray]: ...


def activations(
    model: nn.Module,
    x: Any,
    layers: str | Sequence[str] | None = None,
    *,
    engine: str | None = None,
    batch_size: int = 128,
) -> Any:
    """What layers give for inputs, in evaluation mode.

    Args:
        model: Any Module.
        x: (batch, ...).
        layers: A path such as ``"features.0"``, several, or None: all layers. ``""`` is the
            model's output; ``path@2`` the second call of a layer used more than once.
        engine: As for ``cr.compile``.
        batch_size: Samples at once, ≥ 1.

    Returns:
        For one path the array (batch, ...); else a dict of them, in the order of the calls or of
        ``layers``.

    Raises:
        ArgumentError: The model calls no such layer.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> bool((cr.insight.activations(model, cr.ones((5, 3)), "1") >= 0).all())
    True
    """
    values = as_inputs(model, x)
    known = list(layer_shapes(model, values[:1]))
    wanted = known if layers is None else [layers] if isinstance(layers, str) else list(layers)
    for layer in wanted:
        checked_layer(layer, known)
    found = layer_outputs(model, values, wanted, engine=engine, batch_size=batch_size)
    return found[0] if isinstance(layers, str) else dict(zip(wanted, found, strict=True))


def filters(model: nn.Module, layer: str) -> np.ndarray:
    """The weight of a layer: kernels of a convolution, rows of a fully connected layer.

    Args:
        model: Any Module.
        layer: Path of a layer that has a ``weight`` of two axes or more.

    Returns:
        (units, inputs) or (units, channels, *kernel).

    Raises:
        ArgumentError: There is no such layer, or it has no filters.
    """
    modules = dict(model.named_modules())
    module = modules[checked_layer(layer, list(modules))]
    weight = vars(module).get("weight")
    if weight is None or weight.ndim < 2:
        having = [
            path for path, m in modules.items() if getattr(vars(m).get("weight"), "ndim", 0) > 1
        ]
        raise ArgumentError(
            f"layer {layer!r}, a {type(module).__name__}, has no filters",
            expected="a layer with a weight: " + ", ".join(repr(path) for path in having),
            got=repr(module).split("\n")[0],
            where=str(here()),
        )
    return np.asarray(weight.numpy())


def last_spatial_layer(model: nn.Module, x: np.ndarray) -> str:
    """The last layer that still gives maps, more than one place of each.

    Raises:
        ArgumentError: No layer does.
    """
    shapes = layer_shapes(model, x[:1])
    spatial = [path for path, shape in shapes.items() if path and len(shape) > 2]
    large = [path for path in spatial if max(shapes[path][2:]) > 1]
    if not large:
        raise ArgumentError(
            f"{type(model).__name__} has no layer with maps to weigh",
            expected="a layer whose output is (batch, channels, *spatial)",
            got=", ".join(f"{path!r}: {shape}" for path, shape in list(shapes.items())[-4:]),
            fix="for a fully connected network, saliency or occlusion",
            where=str(here()),
        )
    return large[-1]


def grad_cam(
    model: nn.Module,
    x: Any,
    target: Target = None,
    *,
    layer: str | None = None,
    upsample: bool = True,
    engine: str | None = None,
) -> np.ndarray:
    """Where a class is seen: ReLU(Σₖ αₖ Aᵏ), αₖ the mean derivative of the score by map k.

    Args:
        model: A Module with at least one layer of maps.
        x: (batch, ...) inputs.
        target: Class for all samples, one a sample, or None: each sample's largest output.
        layer: Path of the layer whose output is A, (batch, channels, *spatial); None: the last
            layer with maps of more than one place.
        upsample: Resize (linearly) to the inputs' spatial sizes; False: the maps' own.
        engine: As for ``cr.compile``.

    Returns:
        (batch, *spatial), ≥ 0.

    Raises:
        ArgumentError: There is no such layer, or it gives no maps.

    Reference: Selvaraju et al. 2017, "Grad-CAM", section 3, equations 1 and 2.
    """
    values = as_inputs(model, x)
    shapes = layer_shapes(model, values[:1])
    path = (
        last_spatial_layer(model, values) if layer is None else checked_layer(layer, list(shapes))
    )
    if len(shapes[path]) < 3:
        raise ArgumentError(
            f"layer {path!r} gives no maps",
            expected="an output of shape (batch, channels, *spatial)",
            got=str(shapes[path]),
            where=str(here()),
        )
    outputs = layer_outputs(model, values, [""], engine=engine)[0]
    weights = one_hot_weights(outputs, chosen_targets(outputs, target))
    _, maps, derivative = pull_back(model, values, weights, to=path, engine=engine)
    places = tuple(range(2, maps.ndim))
    importance = derivative.mean(axis=places, keepdims=True, dtype=np.float64)
    cam = np.maximum((importance * maps).sum(axis=1), 0.0).astype(values.dtype)
    return resized(cam, values.shape[-len(places) :]) if upsample else cam


def resized(maps: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(batch, *spatial) maps at another size, linearly between the centres of their cells.

    Args:
        maps: One to three spatial axes; with more they come back as they are.
        size: Of the result.
    """
    modes = {1: "linear", 2: "bilinear", 3: "trilinear"}
    if maps.shape[1:] == tuple(size) or maps.ndim - 1 not in modes:
        return maps
    y = interpolate(asarray(maps[:, None]), size=tuple(size), mode=modes[maps.ndim - 1])
    return np.asarray(y.numpy()[:, 0])
