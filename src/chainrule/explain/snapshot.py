"""The graph as it is before evaluation lets go of the history of constants.

Evaluating an Array drops the operands of what descends from no variable, ``−y`` of a target among
them; the lecture wants to show them. So the records are copied first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.array import Array
from chainrule.execution import evaluate
from chainrule.graph import Node, topological
from chainrule.ops.origin import Origin, origin_of
from chainrule.ops.record import Op, bind

Place = tuple[Node, int]


class Record(NamedTuple):
    """What a node was: op (None for a leaf), operands, attributes, the user's name and line."""

    op: Op | None
    inputs: tuple[Array, ...]
    attributes: dict[str, Any]
    name: str
    origin: Origin


class Snapshot:
    """All nodes behind a loss, operands before users, with their values.

    Args:
        loss: Where the walk starts.
        wrt: Values that must be evaluated too.
    """

    def __init__(self, loss: Array, wrt: Sequence[Array]) -> None:
        self.loss = loss
        # serial numbers are an order of operands before users too: that of the user's program
        self.order = sorted(topological([loss]), key=lambda node: node.serial)
        self.records = {
            node: Record(node.op, node.inputs, node.attributes, node.name, node.origin)
            for node in self.order
        }
        evaluate([loss, *wrt])
        wanted = [Array(node, i) for node in self.order for i in range(len(node.specs))]
        evaluate(wanted)

    def value(self, place: Place) -> np.ndarray:
        """The value of one output."""
        node, index = place
        assert node.values is not None
        return node.values[index].data

    def replay(self, nodes: Sequence[Node], known: dict[Place, Array]) -> None:
        """Record ``nodes`` again on other operands; results are added to ``known``."""
        for node in nodes:
            record = self.records[node]
            assert record.op is not None
            operands = [known.get((x.node, x.index), x) for x in record.inputs]
            with origin_of(record.origin):
                results = bind(record.op, *operands, **record.attributes)
            for i, result in enumerate(results if record.op.multiple else (results,)):
                known[node, i] = result


def inline_composites(loss: Array) -> tuple[Array, Mapping[Place, Array]]:
    """Record the graph again with the bodies of Composites in their place.

    Returns:
        The new loss, and for each output of the old graph what stands for it now.
    """
    known: dict[Place, Array] = {}
    for node in topological([loss]):
        if node.op is None:
            continue
        operands = [known.get((x.node, x.index), x) for x in node.inputs]
        changed = any(a is not b for a, b in zip(operands, node.inputs, strict=True))
        if node.op.family != "composite" and not changed:
            continue
        with origin_of(node.origin):
            if node.op.family == "composite":
                results: Any = node.attributes["body"].apply(operands)
            else:
                results = bind(node.op, *operands, **node.attributes)
        for i, result in enumerate(results if isinstance(results, tuple | list) else (results,)):
            known[node, i] = result
            if node.name and not result.node.name and result.node.op is not None:
                result.node.name = node.name
    return known.get((loss.node, loss.index), loss), known
