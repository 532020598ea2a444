"""What a unit likes best: inputs made by gradient ascent, and the best samples of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.errors import ArgumentError, IndexRangeError
from chainrule.insight.probing import (
    as_inputs,
    checked_layer,
    layer_outputs,
    layer_shapes,
    pull_back,
)
from chainrule.ops.origin import here


@dataclass(frozen=True)
class MaximalInputs:
    """Inputs that make units respond.

    Args:
        inputs: One a unit, (units, *input_shape).
        responses: Each unit's mean response before every step and at the end,
            (steps + 1, units).
    """

    inputs: np.ndarray = field(repr=False)
    responses: np.ndarray = field(repr=False)


def _unit_weights(shape: Sequence[int], units: np.ndarray) -> np.ndarray:
    """Weights whose product with a layer's output is each sample's mean response of its unit."""
    weights = np.zeros((len(units), *shape[1:]), np.float32)
    weights[np.arange(len(units)), units] = 1.0 / max(1, int(np.prod(shape[2:])))
    return weights


def _checked_units(units: int | Sequence[int], layer: str, shape: Sequence[int]) -> np.ndarray:
    chosen = np.atleast_1d(np.asarray(units))
    if chosen.dtype.kind not in "iu" or chosen.ndim != 1 or not chosen.size or len(shape) < 2:
        raise ArgumentError(
            "units are numbers of a layer's outputs",
            expected="an int or a sequence of ints",
            got=repr(units),
            where=str(here()),
        )
    if ((chosen < 0) | (chosen >= shape[1])).any():
        raise IndexRangeError(
            f"layer {layer!r} has no such unit",
            expected=f"0 ≤ unit < {shape[1]}",
            got=f"{chosen.min()} to {chosen.max()}",
            where=str(here()),
        )
    return chosen.astype(np.int64)


def maximize_activation(
    model: nn.Module,
    layer: str,
    units: int | Sequence[int],
    input_shape: Sequence[int],
    *,
    steps: int = 128,
    step_size: float = 0.05,
    decay: float = 0.01,
    low: float = 0.0,
    high: float = 1.0,
    seed: int = 0,
    engine: str | None = None,
) -> MaximalInputs:
    """Climb from noise to inputs for which units respond most.

    Each step goes along the derivative, scaled to a root mean square of ``step_size`` times the
    range, after shrinking the input towards the middle of the range by ``decay`` (an L2 penalty).

    Args:
        model: Any Module; asked in evaluation mode.
        layer: Path of the layer; ``""`` for the model's output.
        units: Channel of a convolution (its mean over all places) or unit of a full connection;
            several are climbed for side by side.
        input_shape: Of one sample, ``(1, 28, 28)``.
        steps: Steps up, ≥ 1.
        step_size: Share of the range, > 0.
        decay: Shrinking a step, in [0, 1).
        low: Least value that an element may take; with
        high: the largest, the range that the inputs have.
        seed: Of the noise to start from.
        engine: As for ``cr.compile``.

    Raises:
        ArgumentError: A setting is out of its range, or the model calls no such layer.
        IndexRangeError: The layer has no such unit.

    Reference: Erhan, Bengio, Courville and Vincent 2009, "Visualizing higher-layer features of a
    deep network", section 4; the penalty: Simonyan et al. 2014, section 2.
    """
    if steps < 1 or not step_size > 0 or not 0 <= decay < 1 or not low < high:
        raise ArgumentError(
            "a setting of maximize_activation is out of its range",
            expected="steps ≥ 1, step_size > 0, 0 ≤ decay < 1, low < high",
            got=f"steps={steps}, step_size={step_size}, decay={decay}, low={low}, high={high}",
            where=str(here()),
        )
    trial = as_inputs(model, np.zeros((1, *input_shape), np.float32))
    shapes = layer_shapes(model, trial)
    shape = shapes[checked_layer(layer, list(shapes))]
    chosen = _checked_units(units, layer, shape)
    middle, width = (low + high) / 2, high - low
    noise = np.random.default_rng(seed).standard_normal((len(chosen), *input_shape))
    x = np.clip(middle + 0.1 * width * noise, low, high).astype(trial.dtype)
    weights = _unit_weights(shape, chosen)
    axes = tuple(range(1, x.ndim))
    responses = []
    for _ in range(steps):
        output, _, slope = pull_back(model, x, weights, of=layer, engine=engine)
        responses.append((output * weights).reshape(len(x), -1).sum(axis=1))
        size = np.sqrt(np.mean(slope**2, axis=axes, keepdims=True))
        # a unit that is silent has no slope: only the decay is at work then
        x = middle + (1 - decay) * (x - middle) + step_size * width * slope / (size + 1e-12)
        x = np.clip(x, low, high).astype(trial.dtype)
    output = layer_outputs(model, x, [layer], engine=engine)[0]
    responses.append((output * weights).reshape(len(x), -1).sum(axis=1))
    return MaximalInputs(x, np.stack(responses))


def most_activating(
    model: nn.Module,
    inputs: Any,
    layer: str,
    units: int | Sequence[int],
    *,
    k: int = 9,
    engine: str | None = None,
    batch_size: int = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """The samples of a data set to which units respond most.

    Args:
        model: Any Module; asked in evaluation mode.
        inputs: (n_samples, ...), or a data set with such ``inputs``.
        layer: Path of the layer; ``""`` for the model's output.
        units: Channel of a convolution (its largest place counts) or unit of a full connection.
        k: Samples a unit, from 1 to n_samples.
        engine: As for ``cr.compile``.
        batch_size: Samples at once, ≥ 1.

    Returns:
        Row numbers, best first, and the responses there; both (units, k).

    Reference: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks",
    section 4 (the strongest activations of a feature map across the data).
    """
    rows = np.asarray(getattr(inputs, "inputs", inputs))
    if not 1 <= k <= len(rows):
        raise ArgumentError(
            "k is out of its range", expected=f"1 ≤ k ≤ {len(rows)} samples", got=str(k)
        )
    shapes = layer_shapes(model, rows[:1])
    shape = shapes[checked_layer(layer, list(shapes))]
    chosen = _checked_units(units, layer, shape)
    best = np.empty((len(rows), len(chosen)), np.float32)
    for start in range(0, len(rows), batch_size):
        part = as_inputs(model, rows[start : start + batch_size])
        found = layer_outputs(model, part, [layer], engine=engine, batch_size=batch_size)[0]
        picked = found[:, chosen]
        best[start : start + len(part)] = picked.reshape(*picked.shape[:2], -1).max(axis=2)
    order = np.argsort(-best, axis=0, kind="stable")[:k].T
    return order, np.take_along_axis(best.T, order, axis=1)
