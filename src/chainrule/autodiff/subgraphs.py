"""Derivatives of closed graphs: what ``scan``, ``cond`` and Composites ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule import ops
from chainrule.array import Array, placeholder
from chainrule.autodiff.reverse import pull_back
from chainrule.graph import Graph, Node, topological
from chainrule.ops import dtypes
from chainrule.ops.hooks import hooks


class Split(NamedTuple):
    """A graph's derivative, split where the values of the forward pass enter the backward pass.

    Args:
        residuals: Values of the forward graph that the backward graph needs.
        residual_inputs: For each residual that is an input of the graph, its position, else None.
        backward: Inputs are the residuals, then a cotangent per floating output; outputs are the
            cotangents of ``wrt``, zeros where there is no path.
    """

    residuals: list[Array]
    residual_inputs: list[int | None]
    backward: Graph


def differentiate(graph: Graph, wrt: Sequence[int]) -> Split:
    """Derive the backward graph of a closed graph.

    Args:
        graph: The forward graph.
        wrt: Positions of the inputs to differentiate.
    """
    cotangents, results = _gradient_nodes(graph, wrt)
    forward = set(topological(graph.outputs)) | {x.node for x in graph.inputs}
    residuals: dict[tuple[Node, int], Array] = {}
    for node in topological(results, lambda n: n not in forward):
        for x in node.inputs:
            if x.node in forward and not _is_constant(x.node):
                residuals.setdefault((x.node, x.index), x)
    for x in results:
        if x.node in forward and not _is_constant(x.node):
            residuals.setdefault((x.node, x.index), x)
    found = list(residuals.values())
    stand_ins = [placeholder(x.shape, x.dtype) for x in found]
    body = Graph(found, results)
    body._nodes = topological(results, lambda n: n not in forward)
    outputs = body.apply(stand_ins)
    positions = {x.node: i for i, x in enumerate(graph.inputs)}
    return Split(
        found, [positions.get(x.node) for x in found], Graph([*stand_ins, *cotangents], outputs)
    )


def _is_constant(node: Node) -> bool:
    return node.op is None and node.values is not None


def _gradient_nodes(graph: Graph, wrt: Sequence[int]) -> tuple[list[Array], list[Array]]:
    floating = [y for y in graph.outputs if dtypes.is_floating(y.dtype)]
    cotangents = [placeholder(y.shape, y.dtype) for y in floating]
    inputs = [graph.inputs[i] for i in wrt]
    found = pull_back(floating, cotangents, inputs)
    results = [
        ops.zeros_like(x) if part is None else part for x, part in zip(inputs, found, strict=True)
    ]
    return cotangents, results


def pullback(graph: Graph, wrt: Sequence[int]) -> Graph:
    """A graph from the inputs and a cotangent per floating output to the cotangents of ``wrt``."""
    cotangents, results = _gradient_nodes(graph, wrt)
    return Graph([*graph.inputs, *cotangents], results)


hooks.differentiate = differentiate
hooks.pullback = pullback
