"""A line search for the strong Wolfe conditions: how far to go along a direction of descent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Point(NamedTuple):
    """A place on the line x + α p.

    Args:
        length: α.
        value: φ(α), the loss there.
        slope: φ′(α), the gradient along the line.
        gradient: The whole gradient there, flat.
    """

    length: float
    value: float
    slope: float
    gradient: np.ndarray

    @property
    def is_finite(self) -> bool:
        """False where the loss or its slope overflowed."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


class StrongWolfe(NamedTuple):
    """φ(α) ≤ φ(0) + c₁ α φ′(0) and |φ′(α)| ≤ c₂ |φ′(0)|.

    Args:
        sufficient_decrease: c₁ in (0, c₂).
        curvature: c₂ in (c₁, 1).
        shortest: Intervals below this length are not divided further.

    Reference: Nocedal and Wright 2006, "Numerical optimization", algorithms 3.5 and 3.6.
    """

    sufficient_decrease: float = 1e-4
    curvature: float = 0.9
    shortest: float = 1e-16

    def search(
        self, evaluate: Callable[[float], Point], start: Point, trial: float, max_evaluations: int
    ) -> Point:
        """Find a length that fulfils both conditions, or the best one met.

        Args:
            evaluate: φ: from a length to the point there.
            start: φ(0), with a negative slope.
            trial: First length, > 0.
            max_evaluations: How often φ may be evaluated, ≥ 1.

        Returns:
            The point; ``start`` itself if none lies lower.
        """
        previous = start
        for evaluation in range(1, max_evaluations + 1):
            point = evaluate(trial)
            left = max_evaluations - evaluation
            rises = point.value >= previous.value and evaluation > 1
            if not point.is_finite or rises or not self._is_lower(point, start):
                return self._zoom(evaluate, start, previous, point, left)
            if self._is_flat(point, start):
                return point
            if point.slope >= 0:
                return self._zoom(evaluate, start, point, previous, left)
            guess = cubic_minimum(previous, point)
            low, high = point.length + 0.01 * (point.length - previous.length), 10 * point.length
            trial = min(max(guess, low), high) if math.isfinite(guess) else 2 * point.length
            previous = point
        return previous

    def _zoom(
        self,
        evaluate: Callable[[float], Point],
        start: Point,
        low: Point,
        high: Point,
        left: int,
    ) -> Point:
        """Narrow an interval that holds a good length; ``low`` is its lower end in φ."""
        for _ in range(left):
            width = high.length - low.length
            if abs(width) < self.shortest:
                break
            point = evaluate(self._between(low, high))
            if not point.is_finite or point.value >= low.value or not self._is_lower(point, start):
                high = point
                continue
            if self._is_flat(point, start):
                return point
            if point.slope * width >= 0:
                high = low
            low = point
        return low

    def _is_lower(self, point: Point, start: Point) -> bool:
        limit = start.value + self.sufficient_decrease * point.length * start.slope
        return point.value <= limit

    def _is_flat(self, point: Point, start: Point) -> bool:
        return abs(point.slope) <= -self.curvature * start.slope

    def _between(self, low: Point, high: Point) -> float:
        """The minimum of the cubic through both ends, a tenth of the width away from them."""
        guess = cubic_minimum(low, high) if high.is_finite else math.nan
        near, far = sorted((low.length, high.length))
        margin = 0.1 * (far - near)
        if not math.isfinite(guess):
            return (near + far) / 2
        return min(max(guess, near + margin), far - margin)


def cubic_minimum(a: Point, b: Point) -> float:
    """Where the cubic with the values and slopes of two points is lowest; NaN if nowhere.

    Reference: Nocedal and Wright 2006, equation 3.59.
    """
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), b.length - a.length)
    divisor = b.slope - a.slope + 2 * d2
    if divisor == 0:
        return math.nan
    return b.length - (b.length - a.length) * (b.slope + d2 - d1) / divisor
