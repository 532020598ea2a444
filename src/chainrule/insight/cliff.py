"""The gradient cliff: the loss of a recurrent unit by its two parameters, and descent across it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule import ops, optim
from chainrule.array import Array, asarray
from chainrule.autodiff import value_and_grad
from chainrule.control import scan
from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.plots.figure import COLOURS, INK, new_figure, plain_axes, save

WEIGHTS, BIASES = (4.0, 6.0), (-3.0, -1.6)


class Descent(NamedTuple):
    """A way down the surface.

    Args:
        points: Weight and bias before each update and after the last, (updates + 1, 2).
        losses: The loss there, (updates + 1,).
        max_norm: Bound on the gradient's norm; None: none.
    """

    points: np.ndarray
    losses: np.ndarray
    max_norm: float | None


class Cliff(NamedTuple):
    """A loss surface and ways down it.

    Args:
        weights: Values of w, (n,).
        biases: Values of b, (n,).
        losses: The loss for each pair, (n, n), a row for each b.
        norms: Norm of its gradient by w and b, (n, n).
        descents: Ways by gradient descent from one point, by name.
    """

    weights: np.ndarray
    biases: np.ndarray
    losses: np.ndarray
    norms: np.ndarray
    descents: dict[str, Descent]

    @property
    def steepness(self) -> float:
        """The largest norm of the gradient divided by its median."""
        return float(self.norms.max() / np.median(self.norms))


def one_unit_loss(
    weight: Any, bias: Any, *, steps: int = 50, start: float = 0.5, target: float = 0.7
) -> Array:
    """(σ(x_T) − target)² after T steps of x_t = w σ(x_(t−1)) + b from x_0 = ``start``.

    Args:
        weight: w, an Array.
        bias: b, of the same shape.
        steps: T, at least 1.
        start: x_0.
        target: What the last output should be, in (0, 1).

    Reference: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural
    networks", section 2.3 and figure 6.

    >>> import chainrule as cr
    >>> one_unit_loss(cr.asarray(0.0), cr.asarray(0.0), steps=1, target=0.5)
    Array(0., float32)
    """
    w, b = asarray(weight), asarray(bias)

    def step(x: Array, _: None) -> tuple[Array, None]:
        return w * ops.sigmoid(x) + b, None

    last, _ = scan(step, ops.full(w.shape, start, dtype=w.dtype), None, length=steps)
    loss: Array = (ops.sigmoid(last) - target) ** 2
    return loss


def gradient_cliff(
    *,
    size: int = 81,
    steps: int = 50,
    updates: int = 60,
    learning_rate: float = 0.5,
    max_norm: float = 0.1,
    begin: tuple[float, float] = (5.0, -2.2),
    weights: tuple[float, float] = WEIGHTS,
    biases: tuple[float, float] = BIASES,
) -> Cliff:
    """The loss of a recurrent unit over a grid, and descent on it with and without a bound.

    Between the weights and biases for which the unit ends at its low and at its high state lies a
    wall: the gradient is small on either side of it and huge on it. One step from there leads far
    away, unless the gradient's norm is clipped.

    Args:
        size: Points of the grid each way, at least 2.
        steps: Steps of the unit.
        updates: Updates of gradient descent, at least 1.
        learning_rate: Of both descents.
        max_norm: Bound on the gradient's norm of the one named ``"clipped"``.
        begin: Weight and bias where both begin.
        weights: Range of w.
        biases: Range of b.

    Raises:
        ArgumentError: ``size`` is below 2 or ``updates`` below 1.

    Reference: Pascanu, Mikolov and Bengio 2013, section 2.3, figure 6, and section 3.2, clipping.

    >>> cliff = gradient_cliff(size=9, updates=2)
    >>> cliff.losses.shape, sorted(cliff.descents)
    ((9, 9), ['clipped', 'plain'])
    """
    if size < 2 or updates < 1:
        raise ArgumentError(
            "gradient_cliff: there is nothing to see",
            expected="size of at least 2 and updates of at least 1",
            got=f"size={size}, updates={updates}",
            where=str(here()),
        )
    w, b = np.linspace(*weights, size), np.linspace(*biases, size)
    grid = np.meshgrid(w, b)
    losses, slopes = _slopes(*grid, steps)
    norms = np.hypot(*slopes)
    bounds = {"plain": None, "clipped": max_norm}
    descents = {
        name: _descend(begin, learning_rate, bound, updates, steps)
        for name, bound in bounds.items()
    }
    return Cliff(w, b, losses, norms, descents)


def _slopes(w: np.ndarray, b: np.ndarray, steps: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Losses, and their derivatives by w and by b; places do not depend on each other."""

    def total(w: Array, b: Array) -> tuple[Array, Array]:
        losses = one_unit_loss(w, b, steps=steps)
        return ops.sum(losses), losses

    derive = value_and_grad(total, argnums=(0, 1), has_aux=True)
    (_, losses), slopes = derive(asarray(w.astype(np.float64)), asarray(b.astype(np.float64)))
    return losses.numpy(), [s.numpy() for s in slopes]


def _descend(
    begin: Sequence[float], rate: float, max_norm: float | None, updates: int, steps: int
) -> Descent:
    points, losses = [np.asarray(begin, np.float64)], []
    for _ in range(updates):
        value, slopes = _slopes(points[-1][0], points[-1][1], steps)
        losses.append(float(value))
        slope = asarray(np.array(slopes))
        if max_norm is not None:
            slope = optim.clip_by_global_norm(slope, max_norm)[0]
        points.append(points[-1] - rate * slope.numpy())
    losses.append(float(_slopes(points[-1][0], points[-1][1], steps)[0]))
    return Descent(np.array(points), np.array(losses), max_norm)


def draw_gradient_cliff(cliff: Cliff, path: str | Path) -> Path:
    """Draw the surface from above with the ways down it, a cut through the wall, and the losses.

    Args:
        cliff: What ``gradient_cliff`` found.
        path: PNG file to write.
    """
    figure = new_figure(12.6, 3.8)
    above, cut, course = figure.subplots(1, 3)
    _draw_surface(figure, above, cliff)
    _draw_cut(cut, cliff)
    for (name, way), colour in zip(cliff.descents.items(), COLOURS[1:], strict=False):
        course.plot(way.losses, color=colour, label=_label(name, way))
    course.set_yscale("log")
    plain_axes(course, "updates", "loss")
    course.legend(frameon=False)
    ends = "; ".join(
        f"{name} from {way.losses[0]:.3g} to {way.losses[-1]:.3g}, longest step "
        f"{_longest_step(way):.3g}"
        for name, way in cliff.descents.items()
    )
    return save(
        figure,
        path,
        f"Gradient cliff: the norm of the gradient is up to {cliff.norms.max():.3g}, half of it "
        f"below {np.median(cliff.norms):.3g}. Descent: {ends}",
    )


def _draw_surface(figure: Any, axes: Any, cliff: Cliff) -> None:
    extent = (cliff.weights[0], cliff.weights[-1], cliff.biases[0], cliff.biases[-1])
    image = axes.imshow(cliff.losses, origin="lower", extent=extent, aspect="auto", cmap="cividis")
    figure.colorbar(image, ax=axes, label="loss")
    for (name, way), colour in zip(cliff.descents.items(), COLOURS[1:], strict=False):
        axes.plot(*way.points.T, color="white", linewidth=3.2, marker="o", markersize=4.5)
        axes.plot(
            *way.points.T,
            color=colour,
            linewidth=1.4,
            marker="o",
            markersize=2.8,
            label=_label(name, way),
        )
    axes.set_xlim(*extent[:2])
    axes.set_ylim(*extent[2:])
    axes.set_xlabel("w")
    axes.set_ylabel("b")
    axes.legend(loc="lower left", fontsize=8)


def _draw_cut(axes: Any, cliff: Cliff) -> None:
    """Loss and gradient along b, at the weight where the wall is steepest."""
    column = int(np.unravel_index(cliff.norms.argmax(), cliff.norms.shape)[1])
    axes.plot(cliff.biases, cliff.losses[:, column], color=COLOURS[0], label="loss")
    norms = np.maximum(cliff.norms[:, column], 1e-12)
    axes.plot(cliff.biases, norms, color=INK, linestyle="--", label="norm of its gradient")
    axes.set_yscale("log")
    plain_axes(axes, f"b, at w = {cliff.weights[column]:.2f}", "")
    axes.legend(frameon=False, loc="lower left")


def _label(name: str, way: Descent) -> str:
    return name if way.max_norm is None else f"{name} at {way.max_norm:g}"


def _longest_step(way: Descent) -> float:
    return float(np.linalg.norm(np.diff(way.points, axis=0), axis=1).max())
