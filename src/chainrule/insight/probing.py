"""Asking a model: evaluation mode, recorded layers, and the Programs that answer.

The Programs of a model are kept as long as it lives, so that asking again compiles nothing.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from chainrule import nn, ops
from chainrule.array import Array, asarray
from chainrule.autodiff import gradients
from chainrule.errors import ArgumentError, IndexRangeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.program import compile as compile_program

#: which output of each sample is asked about: a number for all, one a sample, or the largest
Target: TypeAlias = int | Sequence[int] | np.ndarray | None

#: Programs kept for a model; more are asked for only where input shapes keep changing
MOST_PROGRAMS = 24
_programs: WeakKeyDictionary[nn.Module, OrderedDict[tuple[Any, ...], Any]] = WeakKeyDictionary()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off, stored statistics used; the modes come back afterwards.

    Args:
        model: Of which all layers are switched.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def as_inputs(model: nn.Module, x: Any) -> np.ndarray:
    """A batch as numbers of the model's floating type.

    Args:
        model: Whose first floating parameter says the type.
        x: (batch, ...).

    Raises:
        ArgumentError: ``model`` is no Module.
        ShapeError: There is no batch axis, or no sample.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            "only a Module can be looked into",
            expected="an nn.Module",
            got=type(model).__name__,
            where=str(here()),
        )
    values = x.numpy() if isinstance(x, Array) else np.asarray(x)
    if values.ndim < 2 or not values.size:
        raise ShapeError(
            "insight works on batches of at least one sample",
            expected="(batch, ...), two axes or more",
            got=str(values.shape),
            fix="x[None] makes a batch of one sample",
            where=str(here()),
        )
    kinds = [p.dtype for p in model.parameters() if dtypes.is_floating(p.dtype)]
    return np.ascontiguousarray(values.astype(kinds[0] if kinds else np.float32, copy=False))


def record(model: nn.Module, x: Array) -> dict[str, tuple[nn.Module, Array]]:
    """Run the model on ``x`` and note what each layer gives, in the order of the calls.

    The model's own output comes last, under ``""``. The second call of a layer that is used more
    than once is ``path@2``, the third ``path@3``.
    """
    found: dict[str, tuple[nn.Module, Array]] = {}
    calls: dict[str, int] = {}

    def note(module: nn.Module, path: str, output: Any) -> None:
        if isinstance(output, Array):
            calls[path] = count = calls.get(path, 0) + 1
            found[path if count == 1 else f"{path}@{count}"] = (module, output)

    with nn.observe_calls(note):
        model(x)
    if "" not in found:
        raise ArgumentError(
            f"{type(model).__name__} does not return one Array",
            expected="scores of shape (batch, classes)",
            fix="wrap it in a Module that returns the scores alone",
            where=str(here()),
        )
    return found


def layer_shapes(model: nn.Module, x: Any) -> dict[str, tuple[int, ...]]:
    """What each layer gives for ``x``: paths and shapes, in the order of the calls.

    The paths are those that the functions of this package take as ``layer``. The model's own
    output has path ``""``; a layer called again is there as ``path@2``. Nothing is computed.

    Args:
        model: Any Module.
        x: (batch, ...).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.GlobalAvgPool())
    >>> cr.insight.layer_shapes(model, cr.ones((2, 1, 8, 8)))
    {'0': (2, 4, 6, 6), '1': (2, 4, 6, 6), '2': (2, 4), '': (2, 4)}
    """
    values = as_inputs(model, x)
    with evaluation_mode(model):
        recorded = record(model, asarray(values))
    return {path: output.shape for path, (_, output) in recorded.items()}


def checked_layer(layer: str, known: Sequence[str]) -> str:
    """``layer``, if it is among the ``known`` paths.

    Raises:
        ArgumentError: It is not; the message names what is near.
    """
    if layer in known:
        return layer
    near = difflib.get_close_matches(str(layer), known, n=3, cutoff=0.4) or known[:12]
    raise ArgumentError(
        f"the model calls no layer {layer!r}",
        expected="one of " + ", ".join(repr(path) for path in near),
        got=repr(layer),
        fix="cr.insight.layer_shapes(model, x) lists all paths",
        where=str(here()),
    )


def _program(model: nn.Module, key: tuple[Any, ...], make: Callable[[], Any], engine: Any) -> Any:
    known = _programs.setdefault(model, OrderedDict())
    key = (*key, engine)
    if key not in known:
        known[key] = compile_program(make(), engine=engine)
        while len(known) > MOST_PROGRAMS:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]


def _in_batches(
    run: Callable[..., tuple[Array, ...]], arrays: Sequence[np.ndarray], batch_size: int
) -> list[np.ndarray]:
    """Run batch by batch; the last one is filled up, so that there is one signature only."""
    if batch_size < 1:
        raise ArgumentError("batch_size is too small", expected="≥ 1", got=str(batch_size))
    n = len(arrays[0])
    size = min(n, batch_size)
    parts = []
    for start in range(0, n, size):
        rows = np.minimum(np.arange(start, start + size), n - 1)
        parts.append([y.numpy()[: n - start] for y in run(*(a[rows] for a in arrays))])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def layer_outputs(
    model: nn.Module,
    x: np.ndarray,
    layers: Sequence[str],
    *,
    engine: str | None = None,
    batch_size: int = 128,
) -> list[np.ndarray]:
    """What layers give, in evaluation mode; ``""`` is the model's output."""
    paths = tuple(layers)

    def make() -> Any:
        def outputs(model: nn.Module, x: Array) -> tuple[Array, ...]:
            found = record(model, x)
            return tuple(found[path][1] for path in paths)

        return outputs

    rows = min(len(x), batch_size)
    program = _program(model, ("outputs", paths, rows, x.shape[1:]), make, engine)
    with evaluation_mode(model):
        return _in_batches(lambda part: program(model, part), [x], batch_size)


def pull_back(
    model: nn.Module,
    x: np.ndarray,
    weights: np.ndarray,
    *,
    of: str = "",
    to: str | None = None,
    engine: str | None = None,
    batch_size: int = 64,
) -> list[np.ndarray]:
    """The derivative of Σ weights · (output of layer ``of``), at the input or at layer ``to``.

    Args:
        model: Any Module; samples must not see each other, as in evaluation mode.
        x: (batch, ...).
        weights: (batch, ...) of the shape of ``of``'s output.
        of: Path of the layer; ``""`` for the model's output.
        to: Path of the layer at whose output the derivative is taken; None: at the input.
        engine: As for ``cr.compile``.
        batch_size: Samples at once.

    Returns:
        The output of ``of``, the value at which the derivative is taken, and the derivative.
    """

    def make() -> Any:
        def derivative(model: nn.Module, x: Array, weights: Array) -> tuple[Array, Array, Array]:
            found = record(model, x)
            output = found[of][1]
            at = x if to is None else found[to][1]
            slope = gradients(ops.sum(output * weights), [at])[0]
            return output, at, slope

        return derivative

    rows = min(len(x), batch_size)
    program = _program(model, ("pull back", of, to, rows, x.shape[1:]), make, engine)
    weights = weights.astype(x.dtype, copy=False)
    with evaluation_mode(model):
        return _in_batches(lambda *part: program(model, *part), [x, weights], batch_size)


def chosen_targets(outputs: np.ndarray, target: Target) -> np.ndarray:
    """The output asked about, one number a sample.

    Args:
        outputs: (batch,) or (batch, classes, ...) of the model.
        target: A class for all samples, one a sample, or None: the largest output of each.

    Raises:
        ShapeError: Not one class a sample.
        IndexRangeError: There is no such class.
    """
    n, classes = len(outputs), outputs.shape[1] if outputs.ndim > 1 else 1
    if target is None:
        scores = outputs.reshape(n, classes, -1).sum(axis=2)
        return np.asarray(scores.argmax(axis=1))
    given = np.asarray(target.numpy() if isinstance(target, Array) else target)
    if given.dtype.kind not in "iu" or given.shape not in ((), (n,)):
        raise ShapeError(
            "target does not say which output is asked about",
            expected=f"an int, {n} ints (one a sample), or None for the largest output",
            got=f"{given.dtype}{list(given.shape)}",
            where=str(here()),
        )
    if ((given < 0) | (given >= classes)).any():
        raise IndexRangeError(
            "the model has no such output",
            expected=f"0 ≤ target < {classes}",
            got=f"{given.min()} to {given.max()}",
            where=str(here()),
        )
    return np.broadcast_to(given, (n,)).astype(np.int64)


def one_hot_weights(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """1 at each sample's target (all places of it, where outputs have more axes), 0 elsewhere."""
    weights = np.zeros(outputs.shape, outputs.dtype)
    if outputs.ndim == 1:
        weights[:] = 1.0
    else:
        weights[np.arange(len(outputs)), targets] = 1.0
    return weights


def scores_of(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The target's output of each sample in float64; summed over places, if there are more axes."""
    kept = outputs.astype(np.float64) * one_hot_weights(outputs, targets)
    return np.asarray(kept.reshape(len(outputs), -1).sum(axis=1))
