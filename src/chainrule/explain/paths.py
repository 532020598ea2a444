"""Paths from the loss to the weights: the products of the chain rule and what they share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.explain.model import Chain, Edge, PathProduct, Savings, Shared, Step

MOST_PATHS = 6  # products written out in full for one weight


class Walker:
    """Counts and lists the paths along the edges of the steps.

    Args:
        loss: Name of the loss.
        steps: Operands before users.
        weights: Names of the values asked for.
    """

    def __init__(self, loss: str, steps: Sequence[Step], weights: Sequence[str]) -> None:
        self.loss = loss
        self.steps = {step.name: step for step in steps}
        self.weights = list(weights)
        self.order = [step.name for step in steps]
        self.below = {weight: self._paths_down(weight) for weight in self.weights}
        self.above, self.lengths = self._paths_up()

    def _paths_down(self, weight: str) -> dict[str, int]:
        """Number of paths from each value down to ``weight``."""
        counts = {weight: 1}
        for name in self.order:
            if name != weight:
                counts[name] = sum(counts.get(e.target, 0) for e in self.steps[name].edges)
        return counts

    def _paths_up(self) -> tuple[dict[str, int], dict[str, int]]:
        """Number of paths from the loss to each value, and the sum of their lengths."""
        counts, lengths = {self.loss: 1}, {self.loss: 0}
        for name in reversed(self.order):
            for edge in self.steps[name].edges:
                counts[edge.target] = counts.get(edge.target, 0) + counts.get(name, 0)
                lengths[edge.target] = (
                    lengths.get(edge.target, 0) + lengths.get(name, 0) + counts.get(name, 0)
                )
        return counts, lengths

    def chain(self, weight: str, gradient: np.ndarray) -> Chain:
        """The whole derivative in one weight."""
        step = self.steps[weight]
        below = self.below[weight]
        cascade = [
            edge
            for name in reversed(self.order)
            for edge in self.steps[name].edges
            if below.get(edge.target)
        ]
        count = below.get(self.loss, 0)
        return Chain(weight, step.value, gradient, self._paths(weight), count, cascade)

    def _paths(self, weight: str) -> list[PathProduct]:
        below = self.below[weight]
        found: list[PathProduct] = []
        stack: list[list[Edge]] = [[]]
        while stack and len(found) < MOST_PATHS:
            path = stack.pop()
            end = path[-1].target if path else self.loss
            if end == weight:
                found.append(_product(path))
                continue
            ways = [e for e in self.steps[end].edges if below.get(e.target)]
            stack += [[*path, edge] for edge in reversed(ways)]
        return found

    def shared(self) -> list[Shared]:
        """Gradients of computed values that stand in more than one product, the loss's aside."""
        found = []
        for name in reversed(self.order):
            step = self.steps[name]
            if not step.edges or name == self.loss or step.arrives is None:
                continue
            weights = [w for w in self.weights if w != name and self.below[w].get(name)]
            uses = sum(self.below[w][name] for w in weights) * self.above.get(name, 0)
            if len(weights) > 1 or uses > 1:
                found.append(Shared(name, step.arrives, weights, uses))
        return found

    def savings(self) -> Savings:
        """Multiplications with and without sharing: k factors take k − 1."""
        naive = sum(self.lengths.get(w, 0) - self.above.get(w, 0) for w in self.weights)
        edges = [
            edge
            for name in self.order
            if name != self.loss
            for edge in self.steps[name].edges
            if any(self.below[w].get(edge.target) for w in self.weights)
        ]
        scalar = all(s.is_scalar for s in self.steps.values() if s.arrives is not None)
        return Savings(naive, len(edges), scalar)


def _product(path: list[Edge]) -> PathProduct:
    factors = [edge.local for edge in path]
    if not all(factor is not None and factor.size == 1 for factor in factors):
        return PathProduct(path, [], None)
    numbers = [float(factor.item()) for factor in factors if factor is not None]
    return PathProduct(path, numbers, math.prod(numbers))
