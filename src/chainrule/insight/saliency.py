"""Saliency: how much each element of the input matters for an output, read off derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.insight.probing import (
    Target,
    as_inputs,
    chosen_targets,
    layer_outputs,
    one_hot_weights,
    pull_back,
    scores_of,
)
from chainrule.ops.origin import here


def _targets(
    model: nn.Module, x: np.ndarray, target: Target, engine: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, the target of each sample, and the weights that pick it."""
    outputs = layer_outputs(model, x, [""], engine=engine)[0]
    targets = chosen_targets(outputs, target)
    return outputs, targets, one_hot_weights(outputs, targets)


def gradient(
    model: nn.Module, x: Any, target: Target = None, *, engine: str | None = None
) -> np.ndarray:
    """The derivative of the target's score by every element of the input.

    Args:
        model: Any Module whose output is (batch, classes); asked in evaluation mode.
        x: (batch, ...) inputs; integers become floats.
        target: Class for all samples, one a sample, or None: each sample's largest output.
        engine: As for ``cr.compile``.

    Returns:
        Of the shape of ``x``, signed.

    Raises:
        ShapeError, IndexRangeError: The target fits neither the samples nor the classes.

    Reference: Simonyan, Vedaldi and Zisserman 2014, "Deep inside convolutional networks",
    section 3.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = nn.Linear(3, 2, bias=False)
    >>> bool((cr.insight.gradient(layer, cr.ones((1, 3)), 1) == layer.weight.numpy()[1]).all())
    True
    """
    values = as_inputs(model, x)
    weights = _targets(model, values, target, engine)[2]
    return pull_back(model, values, weights, engine=engine)[2]


def gradient_x_input(
    model: nn.Module, x: Any, target: Target = None, *, engine: str | None = None
) -> np.ndarray:
    """The derivative times the input: a first-order estimate of what each element adds.

    Arguments and result as for ``gradient``.

    Reference: Shrikumar, Greenside, Shcherbina and Kundaje 2016, "Not just a black box",
    section 2.
    """
    return gradient(model, x, target, engine=engine) * as_inputs(model, x)


def smooth_grad(
    model: nn.Module,
    x: Any,
    target: Target = None,
    *,
    n_samples: int = 32,
    noise: float = 0.15,
    seed: int = 0,
    engine: str | None = None,
) -> np.ndarray:
    """The mean of the derivatives at noisy copies of the input.

    Args:
        model: As for ``gradient``.
        x: As for ``gradient``.
        target: As for ``gradient``; None asks for the largest output of the input without noise.
        n_samples: Noisy copies of each sample, ≥ 1.
        noise: Standard deviation of the noise, as a share of the sample's range (largest less
            least element), ≥ 0.
        seed: Of the noise.
        engine: As for ``cr.compile``.

    Returns:
        Of the shape of ``x``, signed.

    Reference: Smilkov, Thorat, Kim, Viégas and Wattenberg 2017, "SmoothGrad", section 3.
    """
    if n_samples < 1 or not noise >= 0:
        raise ArgumentError(
            "smooth_grad needs copies and a width of the noise",
            expected="n_samples ≥ 1 and noise ≥ 0",
            got=f"n_samples={n_samples}, noise={noise}",
            where=str(here()),
        )
    values = as_inputs(model, x)
    weights = _targets(model, values, target, engine)[2]
    generator = np.random.default_rng(seed)
    axes = tuple(range(1, values.ndim))
    width = noise * np.ptp(values, axis=axes, keepdims=True).astype(np.float64)
    total = np.zeros(values.shape, np.float64)
    for _ in range(n_samples):
        noisy = values + (width * generator.standard_normal(values.shape)).astype(values.dtype)
        total += pull_back(model, noisy, weights, engine=engine)[2]
    return (total / n_samples).astype(values.dtype)


@dataclass(frozen=True)
class IntegratedGradients:
    """Attributions, and how well they add up.

    Args:
        attributions: What each element of the input adds to the score, of the inputs' shape.
        difference: f(x) − f(baseline) of each sample, (batch,).
    """

    attributions: np.ndarray = field(repr=False)
    difference: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """Sum of a sample's attributions − (f(x) − f(baseline)): 0 but for the quadrature."""
        rows = self.attributions.reshape(len(self.attributions), -1)
        return np.asarray(rows.sum(axis=1, dtype=np.float64) - self.difference)

    def is_complete(self, tolerance: float = 0.05) -> bool:
        """Does every sample add up within ``tolerance``, as a share of its difference?

        The paper asks for 5 %; where it does not hold, take more steps.
        """
        allowed = tolerance * np.abs(self.difference) + 1e-6
        return bool((np.abs(self.residual) <= allowed).all())


def integrated_gradients(
    model: nn.Module,
    x: Any,
    target: Target = None,
    *,
    baseline: Any = 0.0,
    steps: int = 64,
    engine: str | None = None,
) -> IntegratedGradients:
    """(x − b) ∫₀¹ ∂f(b + t (x − b)) / ∂x dt: what each element adds on the way from b to x.

    The integral is taken by Gauss and Legendre's rule.

    Args:
        model: As for ``gradient``.
        x: As for ``gradient``.
        target: As for ``gradient``.
        baseline: b, the input in which nothing is to be seen: a number, one sample, or one a
            sample. Black (0) for pictures on black.
        steps: Points on the way, ≥ 1.
        engine: As for ``cr.compile``.

    Raises:
        ShapeError: The baseline does not fit the inputs.

    Reference: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks",
    section 3; completeness is proposition 1, the choice of steps section 5.

    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> x = np.array([[1.0, -2.0]])
    >>> cr.insight.integrated_gradients(nn.Linear(2, 3), x, target=0).is_complete()
    True
    """
    if steps < 1:
        raise ArgumentError("steps is too small", expected="≥ 1", got=str(steps))
    values = as_inputs(model, x)
    try:
        start = np.broadcast_to(np.asarray(baseline, values.dtype), values.shape)
    except ValueError:
        raise ShapeError(
            "the baseline does not fit the inputs",
            expected=f"a number, {values.shape[1:]} or {values.shape}",
            got=str(np.shape(baseline)),
            where=str(here()),
        ) from None
    outputs, targets, weights = _targets(model, values, target, engine)
    at_start = layer_outputs(model, np.ascontiguousarray(start), [""], engine=engine)[0]
    way = values - start
    total = np.zeros(values.shape, np.float64)
    for point, share in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        between = start + np.asarray((point + 1) / 2, values.dtype) * way
        total += share / 2 * pull_back(model, between, weights, engine=engine)[2]
    difference = scores_of(outputs, targets) - scores_of(at_start, targets)
    return IntegratedGradients((total * way).astype(values.dtype), difference)


def _integrated(*arguments: Any, **options: Any) -> np.ndarray:
    return integrated_gradients(*arguments, **options).attributions


METHODS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., Any]]] = {
    "gradient": (gradient, gradient),
    "gradient_x_input": (gradient_x_input, gradient_x_input),
    "smooth_grad": (smooth_grad, smooth_grad),
    "integrated_gradients": (_integrated, integrated_gradients),
}


def saliency(
    model: nn.Module,
    x: Any,
    target: Target = None,
    method: str = "gradient",
    **options: Any,
) -> np.ndarray:
    """How much each element of the input matters for an output, by a method of your choice.

    Args:
        model: Any Module whose output is (batch, classes); asked in evaluation mode.
        x: (batch, ...) inputs.
        target: Class for all samples, one a sample, or None: each sample's largest output.
        method: ``"gradient"``, ``"gradient_x_input"``, ``"smooth_grad"`` or
            ``"integrated_gradients"``: the functions of these names.
        options: What the method's function takes besides, such as ``n_samples`` or ``baseline``.

    Returns:
        Of the shape of ``x``, signed.

    Raises:
        ArgumentError: No such method, or it has no such option.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> cr.insight.saliency(nn.Linear(3, 2), cr.ones((5, 3)), target=0).shape
    (5, 3)
    """
    if method not in METHODS:
        raise ArgumentError(
            f"there is no saliency method {method!r}",
            expected=", ".join(METHODS),
            got=repr(method),
            where=str(here()),
        )
    function, described = METHODS[method]
    known = [
        p.name for p in inspect.signature(described).parameters.values() if p.kind == p.KEYWORD_ONLY
    ]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ArgumentError(
            f"the method {method!r} has no option {unknown[0]!r}",
            expected=", ".join(known),
            got=", ".join(unknown),
            where=str(here()),
        )
    return function(model, x, target, **options)
