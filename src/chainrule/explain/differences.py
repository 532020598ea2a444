"""Central differences in float64, beside the gradients that the chain rule gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.explain.model import Difference
from chainrule.explain.snapshot import Place, Record, Snapshot
from chainrule.graph import Node
from chainrule.ops import dtypes

MOST_ENTRIES = 8  # of a large array
RELATIVE_STEP = 1e-5
TOLERANCE = 2e-4  # gradients are float32; a kink within a step shows up far above this


class Replay:
    """Evaluates the graph in float64, with some values overridden.

    Casts between floating types are left out. What ``stop_gradient`` holds constant is held
    constant, so that the quotients measure what the gradient means.

    Args:
        snapshot: The graph.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.held: dict[Any, list[np.ndarray]] = {}
        self.base: dict[Place, np.ndarray] = {}
        for node in snapshot.order:
            self._run(node, self.base)

    def loss(self, place: Place, value: np.ndarray, after: Sequence[Node]) -> float:
        """The loss where ``place`` holds ``value``; only the nodes ``after`` it are run again."""
        known = {place: value}
        for node in after:
            self._run(node, known)
        end = (self.snapshot.loss.node, self.snapshot.loss.index)
        return float(known.get(end, self.base[end]).reshape(()))

    def after(self, start: Node) -> list[Node]:
        """The nodes that depend on ``start``, operands first."""
        reached = {start}
        found = []
        for node in self.snapshot.order:
            if any(x.node in reached for x in self.snapshot.records[node].inputs):
                reached.add(node)
                found.append(node)
        return [node for node in found if node is not start]

    def _run(self, node: Node, known: dict[Place, np.ndarray]) -> None:
        record = self.snapshot.records[node]
        if record.op is None:
            for i in range(len(node.specs)):
                known[node, i] = _widened(self.snapshot.value((node, i)))
            return
        operands = [
            known.get((x.node, x.index), self.base.get((x.node, x.index))) for x in record.inputs
        ]
        for i, value in enumerate(self._evaluate((node,), record, operands)):
            known[node, i] = value

    def _evaluate(
        self, key: tuple[Node, ...], record: Any, operands: list[Any]
    ) -> list[np.ndarray]:
        op = record.op
        if op.name == "cast" and _both_floating(record.attributes["dtype"], operands[0].dtype):
            return [operands[0]]
        if op.name == "stop_gradient":
            return self.held.setdefault(key, [operands[0]])
        if op.family == "composite":
            return self._body(key, record.attributes["body"], operands)
        with np.errstate(all="ignore"):
            result = op.evaluate(*operands, **record.attributes)
        return [np.asarray(part) for part in (result if op.multiple else (result,))]

    def _body(self, key: tuple[Node, ...], body: Any, operands: list[Any]) -> list[np.ndarray]:
        known = {(x.node, x.index): v for x, v in zip(body.inputs, operands, strict=True)}
        for node in body.nodes:
            if node.values is not None:
                values = [_widened(buffer.data) for buffer in node.values]
            else:
                inner = Record(node.op, node.inputs, node.attributes, node.name, node.origin)
                parts = [known[x.node, x.index] for x in node.inputs]
                values = self._evaluate((*key, node), inner, parts)
            for i, value in enumerate(values):
                known[node, i] = value
        return [known[x.node, x.index] for x in body.outputs]


def _widened(data: np.ndarray) -> np.ndarray:
    return data.astype(np.float64) if dtypes.is_floating(data.dtype) else data


def _both_floating(a: Any, b: Any) -> bool:
    return dtypes.is_floating(a) and dtypes.is_floating(b)


def check_entries(replay: Replay, place: Place, gradient: np.ndarray) -> Difference:
    """Difference quotients of the loss in entries of one value.

    Of a large array the entry with the largest gradient and evenly spaced others are taken.

    Args:
        replay: Evaluates the loss.
        place: The value to move.
        gradient: The derivative that the chain rule gave.
    """
    value = replay.base[place]
    flat = gradient.reshape(-1).astype(np.float64)
    chosen = _choose(flat)
    after = replay.after(place[0])
    estimate = np.empty(len(chosen))
    for i, position in enumerate(chosen):
        x = float(value.reshape(-1)[position])
        step = RELATIVE_STEP * max(1.0, abs(x))
        losses = []
        for sign in (1, -1):
            moved = value.copy()
            moved.reshape(-1)[position] = x + sign * step
            losses.append(replay.loss(place, moved, after))
        estimate[i] = (losses[0] - losses[1]) / (2 * step)
    own = flat[chosen]
    scale = max(float(np.abs(own).max(initial=0.0)), float(np.abs(estimate).max(initial=0.0)), 1e-6)
    error = float(np.abs(own - estimate).max(initial=0.0)) / scale
    return Difference(len(chosen), flat.size, estimate, own, error, bool(error <= TOLERANCE))


def _choose(gradient: np.ndarray) -> list[int]:
    if gradient.size <= MOST_ENTRIES:
        return list(range(gradient.size))
    largest = int(np.argmax(np.abs(gradient)))
    spread = np.linspace(0, gradient.size - 1, MOST_ENTRIES - 1).astype(int)
    return sorted({largest, *(int(i) for i in spread)})
