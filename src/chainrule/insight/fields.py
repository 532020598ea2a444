"""Receptive fields: which part of the input a unit can see, and whether shifts go along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.array import asarray
from chainrule.errors import ArgumentError
from chainrule.insight.geometry import Field, fields_of
from chainrule.insight.probing import (
    as_inputs,
    checked_layer,
    evaluation_mode,
    layer_shapes,
    pull_back,
    record,
)
from chainrule.insight.probing import layer_outputs as outputs_of
from chainrule.ops.origin import here


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a layer see of the input.

    Args:
        layer: Path of the layer.
        kind: Type of the layer.
        output_shape: Of the layer, (batch, channels, *spatial).
        size: Places that a unit sees along each spatial axis of the input, padding included; None:
            all of them.
        stride: Input places between neighbouring units, along each axis; 0 where all are seen.
        start: The first place that unit 0 sees, negative in the padding, along each axis.
        input_size: Spatial sizes of the input.
    """

    layer: str
    kind: str
    output_shape: tuple[int, ...]
    size: tuple[int | None, ...]
    stride: tuple[int, ...]
    start: tuple[int, ...]
    input_size: tuple[int, ...]

    def region(self, unit: Sequence[int]) -> tuple[slice, ...]:
        """The places of the input that a unit sees, cut at the borders.

        Args:
            unit: Its place in the layer's output, along each spatial axis.
        """
        places = []
        for at, size, stride, start, n in zip(
            unit, self.size, self.stride, self.start, self.input_size, strict=True
        ):
            first = start + at * stride
            places.append(
                slice(0, n) if size is None else slice(max(0, first), min(n, first + size))
            )
        return tuple(places)

    def __str__(self) -> str:
        def joined(values: Sequence[int | None]) -> str:
            return " × ".join("all" if v is None else str(v) for v in values)

        return f"{self.layer} {self.kind}: sees {joined(self.size)}, stride {joined(self.stride)}"


def receptive_fields(
    model: nn.Module, input_shape: Sequence[int], *, spatial_axes: int | None = None
) -> dict[str, ReceptiveField]:
    """What each layer's units see of the input, computed from kernels, strides and dilations.

    With k the kernel, d its dilation and s the stride of a layer, a field of size r and stride j
    becomes r + (k − 1) d j and j s; its start moves by −j · padding. Branches join to the field
    that holds both. What mixes all places (a full connection, a global mean) sees everything. The
    computation follows the recorded graph, so residual and other branching nets work too; where an
    operation's windows differ from unit to unit, "all" is an upper bound.

    Args:
        model: Any Module.
        input_shape: Of one sample, ``(1, 28, 28)``.
        spatial_axes: How many of the last axes are spatial; None: all but the first (channels),
            the only one for ``(features,)``.

    Returns:
        By path, in the order of the calls.

    Reference: Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural
    networks", equations 1 to 3.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> stack = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3))
    >>> print(cr.insight.receptive_fields(stack, (1, 28, 28))["2"])
    2 Conv2d: sees 8 × 8, stride 2 × 2
    """
    shape = tuple(input_shape)
    count = max(1, len(shape) - 1) if spatial_axes is None else spatial_axes
    if not 1 <= count <= len(shape) or min(shape) < 1:
        raise ArgumentError(
            "receptive fields need an input with spatial axes",
            expected="sizes ≥ 1, as (channels, height, width), and spatial_axes among them",
            got=f"{shape}, spatial_axes={spatial_axes}",
            where=str(here()),
        )
    x = asarray(as_inputs(model, np.zeros((1, *shape), np.float32)))
    with evaluation_mode(model):
        recorded = record(model, x)
    axes = tuple(range(x.ndim - count, x.ndim))
    found = fields_of(x, axes, [output for _, output in recorded.values()])
    result = {}
    for (path, (module, output)), along in zip(recorded.items(), found, strict=True):
        result[path] = ReceptiveField(
            path,
            type(module).__name__,
            output.shape,
            tuple(f.size if isinstance(f, Field) else None for f in along),
            tuple(f.stride if isinstance(f, Field) else 0 for f in along),
            tuple(f.start if isinstance(f, Field) else 0 for f in along),
            shape[len(shape) - count :],
        )
    return result


def measured_receptive_field(
    model: nn.Module,
    layer: str,
    input_shape: Sequence[int],
    *,
    unit: Sequence[int] | None = None,
    n_samples: int = 32,
    seed: int = 0,
    engine: str | None = None,
) -> np.ndarray:
    """The mean absolute derivative of one place of a layer by the input, over random inputs.

    Its non-zero part is the receptive field (the box around it equals ``receptive_fields``, if
    enough random inputs open every rectifier and let every place win its maximum); its size is the
    effective receptive field.

    Args:
        model: Any Module; asked in evaluation mode.
        layer: Path of a layer whose output is (batch, channels, *spatial).
        input_shape: Of one sample, ``(1, 28, 28)``.
        unit: The place in the layer's output, along each spatial axis; None: the middle.
        n_samples: Random inputs, ≥ 1.
        seed: Of the inputs, and of how much each channel counts.
        engine: As for ``cr.compile``.

    Returns:
        Of the input's spatial sizes.

    Reference: Luo, Li, Urtasun and Zemel 2016, "Understanding the effective receptive field in
    deep convolutional neural networks", section 2.
    """
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((max(1, n_samples), *input_shape)).astype(np.float32)
    x = as_inputs(model, x)
    shapes = layer_shapes(model, x)
    shape = shapes[checked_layer(layer, list(shapes))]
    spatial = shape[2:]
    place = tuple(n // 2 for n in spatial) if unit is None else tuple(unit)
    if len(place) != len(spatial) or any(
        not 0 <= p < n for p, n in zip(place, spatial, strict=True)
    ):
        raise ArgumentError(
            f"layer {layer!r} has no unit at {place}",
            expected=f"one number for each axis of {spatial}",
            got=str(place),
            where=str(here()),
        )
    weights = np.zeros(shape, np.float32)
    at: tuple[Any, ...] = (slice(None), slice(None), *place)
    weights[at] = generator.uniform(0.5, 1.5, shape[:2])
    slope = pull_back(model, x, weights, of=layer, engine=engine)[2]
    size = np.abs(slope, dtype=np.float64).mean(axis=0)
    return np.asarray(size.sum(axis=0) if size.ndim > 1 else size)


def box_of(measured: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around what is not 0; empty slices if all is 0.

    Args:
        measured: Result of ``measured_receptive_field``.
    """
    box = []
    for axis in range(measured.ndim):
        others = tuple(a for a in range(measured.ndim) if a != axis)
        seen = np.flatnonzero((measured != 0).any(axis=others))
        box.append(slice(int(seen[0]), int(seen[-1]) + 1) if seen.size else slice(0, 0))
    return tuple(box)


@dataclass(frozen=True)
class Equivariance:
    """Does a layer's output move along with its input?

    Args:
        layer: Path of the layer.
        shift: Places by which the input was moved, along each spatial axis.
        output_shift: Places by which the output should move: shift / stride, rounded.
        error: ‖f(shifted x) − shifted f(x)‖ / ‖f(x)‖ over the units whose fields the border does
            not cut; 0 for perfect equivariance.
        border_error: The same over all units: what padding and the lost border add.
        moved_first: f(shifted x), (batch, channels, *spatial).
        moved_last: shifted f(x), of the same shape.
    """

    layer: str
    shift: tuple[int, ...]
    output_shift: tuple[int, ...]
    error: float
    border_error: float
    moved_first: np.ndarray = field(repr=False)
    moved_last: np.ndarray = field(repr=False)


def translation_equivariance(
    model: nn.Module,
    x: Any,
    layer: str,
    shift: Sequence[int],
    *,
    engine: str | None = None,
) -> Equivariance:
    """Shift the input, then apply the layers up to ``layer``; or the other way round: the same?

    A stack of convolutions commutes with shifts by multiples of its stride; by others it does not,
    which is what the number shows.

    Args:
        model: Any Module; asked in evaluation mode.
        x: (batch, channels, *spatial).
        layer: Path of a layer whose output is (batch, channels, *spatial).
        shift: Places to move by along each spatial axis; what leaves at one side comes in at the
            other.
        engine: As for ``cr.compile``.

    Raises:
        ArgumentError: The layer sees the whole input, or so much that no unit is left to compare.

    Reference: Goodfellow, Bengio and Courville 2016, "Deep learning", section 9.2.
    """
    values = as_inputs(model, x)
    fields = receptive_fields(model, values.shape[1:])
    field = fields[checked_layer(layer, list(fields))]
    moves = tuple(int(s) for s in shift)
    if (
        len(moves) != values.ndim - 2
        or None in field.size
        or len(field.output_shape) != values.ndim
    ):
        raise ArgumentError(
            f"layer {layer!r} can not be compared under a shift by {moves}",
            expected=f"{values.ndim - 2} numbers, and a layer whose units see a part of the input",
            got=str(field),
            fix="choose a convolutional layer",
            where=str(here()),
        )
    axes = tuple(range(2, values.ndim))
    after = tuple(round(s / j) for s, j in zip(moves, field.stride, strict=True))
    moved = np.ascontiguousarray(np.roll(values, moves, axes))
    both = np.concatenate([values, moved])
    still, first = np.split(outputs_of(model, both, [layer], engine=engine)[0], 2)
    last = np.roll(still, after, axes)
    inside = np.ones((), bool)
    for axis, (move, step) in enumerate(zip(moves, after, strict=True)):
        inside = inside[..., None] & _uncut(field, axis, move, step)
    if not inside.any():
        raise ArgumentError(
            f"no unit of layer {layer!r} is clear of the border",
            expected="inputs larger than the receptive field and the shift together",
            got=f"{field}; input {field.input_size}, shift {moves}",
            where=str(here()),
        )

    def relative(where: np.ndarray) -> float:
        size = math.sqrt(float(np.sum(last.astype(np.float64) ** 2 * where)))
        gap = math.sqrt(float(np.sum((first - last).astype(np.float64) ** 2 * where)))
        return gap / size if size else gap

    everywhere = np.ones_like(inside)
    return Equivariance(layer, moves, after, relative(inside), relative(everywhere), first, last)


def _uncut(field: ReceptiveField, axis: int, shift: int, step: int) -> np.ndarray:
    """Units whose fields, before and after the shift, neither leave the input nor wrap around."""
    n, size = field.input_size[axis], field.size[axis] or 0
    units = np.arange(field.output_shape[2 + axis])
    begin = field.start[axis] + units * field.stride[axis]
    before = begin - step * field.stride[axis]
    low, high = max(0, shift), n + min(0, shift)
    fine = (begin >= low) & (begin + size <= high) & (before >= 0) & (before + size <= n)
    return np.asarray(fine)
