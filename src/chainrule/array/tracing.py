"""Recording a function on placeholders, as a closed graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array.leaves import placeholder
from chainrule.array.value import Array
from chainrule.errors import TracedValueError
from chainrule.graph import Graph, Node, next_serial, topological
from chainrule.ops.origin import here


def trace(function: Callable[..., Any], like: Sequence[Any]) -> CapturedGraph:
    """Record ``function`` on placeholders shaped ``like`` its arguments; returns a closed graph.

    Arrays that the function catches from outside become extra inputs, listed as ``captured``.

    Args:
        function: Takes one Array a placeholder, returns an Array or a sequence of them.
        like: Arrays or ``(shape, dtype)`` pairs.
    """
    mark = next_serial()
    specs = [(x.shape, x.dtype) if isinstance(x, Array) else x for x in like]
    inputs = [placeholder(shape, dtype) for shape, dtype in specs]
    result = function(*inputs)
    outputs = [result] if isinstance(result, Array) else [ops.as_value(x) for x in result]
    return close(inputs, outputs, mark)


class CapturedGraph(Graph):
    """A graph whose last inputs stand for Arrays caught from outside.

    Args:
        captured: Those Arrays, in the order of the last inputs.
    """

    __slots__ = ("captured",)

    def __init__(
        self, inputs: Sequence[Array], outputs: Sequence[Array], captured: Sequence[Array]
    ) -> None:
        super().__init__(inputs, outputs)
        self.captured = tuple(captured)


def close(inputs: Sequence[Array], outputs: Sequence[Array], mark: int) -> CapturedGraph:
    """Close a graph over what was recorded since ``mark``: older nodes become inputs."""
    own = {x.node for x in inputs}
    caught: dict[tuple[Node, int], Array] = {}
    order = topological(outputs, lambda node: node.serial > mark)
    for x in [*(x for node in order for x in node.inputs), *outputs]:
        if x.node.serial < mark and x.node not in own and not _is_plain(x.node):
            caught.setdefault((x.node, x.index), x)
    if not caught:
        return CapturedGraph(inputs, outputs, ())
    captured = list(caught.values())
    stand_ins = [placeholder(x.shape, x.dtype, x.name, x.weak) for x in captured]
    graph = Graph(captured, outputs)
    graph._nodes = order
    return CapturedGraph([*inputs, *stand_ins], graph.apply(stand_ins), captured)


def _is_plain(node: Node) -> bool:
    """A number in the code, such as the 2 in ``2 * x``, or copies of one: stays as it is."""
    if node.op is not None:
        return node.op.name == "broadcast_to" and _is_plain(node.inputs[0].node)
    return node.specs[0][0] == () and not (node.tracked or node.owned)


def require_concrete(x: Array, why: str) -> np.ndarray:
    """Return the value, or explain why ``why`` needs it outside a trace."""
    if not x.is_concrete:
        raise TracedValueError(
            f"{why} needs the value of an Array that is only being recorded",
            fix="use cr.where(mask, x, 0) instead of x[mask], or do it outside the compiled code",
            where=str(here()),
        )
    return x.data
