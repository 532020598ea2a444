"""The test that a saliency method must pass: it changes when the model's weights are random."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.insight.probing import (
    Target,
    as_inputs,
    chosen_targets,
    layer_outputs,
    layer_shapes,
)
from chainrule.insight.saliency import METHODS, saliency
from chainrule.ops import dtypes
from chainrule.ops.origin import here

Method = Callable[[nn.Module, np.ndarray, np.ndarray], Any]


@dataclass(frozen=True)
class SanityCheck:
    """How alike the pictures stay while layer after layer loses what it has learned.

    Args:
        layers: Paths of the randomised layers, from the output to the input.
        correlations: After each layer, Spearman's rank correlation of the absolute saliency with
            that of the trained model, the mean over samples and draws; (layers,).
        maps: Saliency of the trained model, then after each layer of the first draw,
            (layers + 1, batch, ...).
        limit: The largest absolute correlation that passes.
    """

    layers: tuple[str, ...]
    correlations: np.ndarray
    maps: np.ndarray = field(repr=False)
    limit: float

    @property
    def passed(self) -> bool:
        """Is the picture a different one once all layers are random?"""
        return bool(abs(self.correlations[-1]) < self.limit)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equals sharing their mean rank.

    >>> ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist()
    [2.5, 0.0, 2.5, 1.0]
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[group.reshape(-1)])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's ρ: Pearson's correlation of the ranks; 0 where all values of one are equal.

    Args:
        a: Any shape.
        b: Of as many elements.

    >>> round(rank_correlation(np.array([1, 2, 3, 4]), np.array([1, 8, 9, 100])), 6)
    1.0
    """
    x, y = (r - r.mean() for r in (ranks(np.ravel(a)), ranks(np.ravel(b))))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0 else 0.0


def edge_detector(model: nn.Module, x: Any, target: Target = None) -> np.ndarray:
    """|differences of neighbours|: a picture that looks like saliency and knows nothing of a model.

    It is what the sanity check must turn down.

    Args:
        model: Not looked at.
        x: (batch, ...) inputs, at least two axes.
        target: Not looked at either.
    """
    values = np.asarray(x, np.float64)
    axes = (values.ndim - 1,) if values.ndim == 2 else (values.ndim - 2, values.ndim - 1)
    steps = [np.diff(values, axis=axis, append=0.0) for axis in axes]
    return np.asarray(np.sqrt(sum(step**2 for step in steps)))


def _randomise(module: nn.Module, generator: np.random.Generator) -> None:
    """Draw the layer's own parameters anew: independent, normal, of their own mean and width.

    A bias or scale that is one constant stays: its width is 0.
    """
    for name, value in list(vars(module).items()):
        if isinstance(value, Array) and name in module._roles():
            old = value.numpy().astype(np.float64)
            drawn = old.mean() + old.std() * generator.standard_normal(old.shape)
            setattr(module, name, drawn.astype(value.numpy().dtype))


def sanity_check(
    model: nn.Module,
    x: Any,
    target: Target = None,
    *,
    method: str | Method = "gradient",
    n_draws: int = 3,
    limit: float = 0.5,
    seed: int = 0,
    **options: Any,
) -> SanityCheck:
    """Randomise a model's layers one after another, from the output down, and watch the saliency.

    A method whose pictures stay as they are shows the input, not what the model has learned. The
    model itself is not changed.

    Args:
        model: A trained Module.
        x: (batch, ...) inputs.
        target: Class for all samples, one a sample, or None: what the trained model finds largest.
        method: Name of a saliency method, or ``method(model, x, targets)`` → array of x's shape
            (or of any one shape).
        n_draws: How often all is randomised anew, ≥ 1: small random networks differ much.
        limit: Largest absolute rank correlation that passes once all is random, in (0, 1].
        seed: Of the random weights.
        options: Of the named method.

    Raises:
        ArgumentError: No layer has weights, or a setting is out of its range.

    Reference: Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim 2018, "Sanity checks for saliency
    maps", section 3.1 (cascading randomisation).
    """
    if not 0 < limit <= 1 or n_draws < 1 or (isinstance(method, str) and method not in METHODS):
        raise ArgumentError(
            "sanity_check needs a method, draws and a limit",
            expected=f"{', '.join(METHODS)} or a function; n_draws ≥ 1; 0 < limit ≤ 1",
            got=f"method={method!r}, n_draws={n_draws}, limit={limit}",
            where=str(here()),
        )
    values = as_inputs(model, x)
    targets = chosen_targets(
        layer_outputs(model, values, [""], engine=options.get("engine"))[0], target
    )
    layers = _randomisable(model, values)

    def picture(asked: nn.Module) -> np.ndarray:
        if isinstance(method, str):
            return saliency(asked, values, targets, method, **options)
        return np.asarray(method(asked, values, targets))

    generator = np.random.default_rng(seed)
    twin = copy.deepcopy(model)  # one for all: its Programs are compiled once
    trained = picture(twin)
    draws = []
    for _ in range(n_draws):
        twin.load_state_dict(model.state_dict())
        draws.append(_cascade(twin, layers, picture, generator))
    alike = [
        [
            np.mean([rank_correlation(abs(a), abs(b)) for a, b in zip(trained, m, strict=True)])
            for m in maps
        ]
        for maps in draws
    ]
    return SanityCheck(layers, np.mean(alike, axis=0), np.stack([trained, *draws[0]]), limit)


def _randomisable(model: nn.Module, x: np.ndarray) -> tuple[str, ...]:
    """Paths of the layers with floating parameters of their own, the last one called first."""
    modules = dict(model.named_modules())
    called = dict.fromkeys(path.split("@")[0] for path in layer_shapes(model, x[:1]))
    having = tuple(
        path
        for path in reversed(called)
        if path in modules
        and any(dtypes.is_floating(vars(modules[path])[n].dtype) for n in modules[path]._roles())
    )
    if not having:
        raise ArgumentError(
            f"no layer of {type(model).__name__} has parameters to randomise",
            fix="the check is for trained models",
            where=str(here()),
        )
    return having


def _cascade(
    twin: nn.Module,
    layers: Sequence[str],
    picture: Callable[[nn.Module], np.ndarray],
    generator: np.random.Generator,
) -> list[np.ndarray]:
    """The twin's pictures after each layer that becomes random."""
    modules = dict(twin.named_modules())
    maps = []
    for path in layers:
        _randomise(modules[path], generator)
        maps.append(picture(twin))
    return maps
