"""Evaluation with NumPy, op by op: how Arrays get their values, and the reference engine's core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import IndexRangeError, TracedValueError
from chainrule.graph import Buffer, Graph, Node, topological
from chainrule.ops.hooks import Value, hooks
from chainrule.ops.origin import here


def run_op(node: Node, operands: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Evaluate one node on NumPy arrays; IndexError is told with the user's line."""
    assert node.op is not None
    try:
        result = node.op.evaluate(*operands, **node.attributes)
    except IndexError as error:
        raise IndexRangeError(str(error), where=str(node.origin)) from None
    return result if node.op.multiple else (result,)


def evaluate(arrays: Iterable[Value]) -> None:
    """Give each Array its value, together with all that it depends on.

    Nodes that descend from no variable forget their operands, so memory stays flat.

    Raises:
        TracedValueError: A value depends on an input of a trace that is being recorded.
    """
    pending = [x for x in arrays if x.node.values is None]
    if not pending:
        return
    order = topological(pending, lambda node: node.values is None)
    order.reverse()
    with np.errstate(all="ignore"):
        while order:
            node = order.pop()
            if node.op is None:
                raise _traced(pending, node)
            operands = [x.node.values[x.index].data for x in node.inputs]
            results = run_op(node, operands)
            node.values = tuple(Buffer(np.asarray(result)) for result in results)
            if not node.tracked:
                node.release_inputs()


def _traced(pending: Sequence[Value], leaf: Node) -> TracedValueError:
    described = f"input {leaf.name!r}" if leaf.name else "an input"
    return TracedValueError(
        f"the value of {described} is not known while a function is being recorded",
        expected="code that only builds the graph: no if, while, float() or print on its values",
        fix="choose with cr.where(condition, a, b) or cr.cond; loop with cr.while_loop or cr.scan",
        where=str(here()),
    )


def evaluate_graph(graph: Graph, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a closed graph on ``values``, one array an input; intermediate results are dropped."""
    known: dict[Node, Any] = {}
    uses: dict[Node, int] = {}
    for node in graph.nodes:
        for x in node.inputs:
            uses[x.node] = uses.get(x.node, 0) + 1
    for x in graph.outputs:
        uses[x.node] = uses.get(x.node, 0) + 1
    for x, value in zip(graph.inputs, values, strict=True):
        known[x.node] = (value,)
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.values is not None:
                known[node] = tuple(buffer.data for buffer in node.values)
                continue
            if node.op is None:
                raise _traced(graph.outputs, node)
            known[node] = run_op(node, [known[x.node][x.index] for x in node.inputs])
            for x in node.inputs:
                uses[x.node] -= 1
                if not uses[x.node]:
                    del known[x.node]
    return [np.asarray(known[x.node][x.index]) for x in graph.outputs]


hooks.evaluate = evaluate_graph
