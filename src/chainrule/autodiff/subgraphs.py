"""Derivatives of closed graphs: what ``scan``, ``cond`` and Composites ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule import ops
from chainrule.array import Array, placeholder
from chainrule.autodiff.reverse import Place, place, pull_back
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
    varying = _dependent_on(graph)
    order = topological(results, lambda node: node not in varying)
    residuals: dict[Place, Array] = {}
    for x in [*(x for node in order for x in node.inputs), *results]:
        if x.node in varying:
            residuals.setdefault(place(x), x)
    found = list(residuals.values())
    stand_ins = [placeholder(x.shape, x.dtype, weak=x.weak) for x in found]
    body = Graph(found, results)
    body._nodes = order
    positions = {x.node: i for i, x in enumerate(graph.inputs)}
    return Split(
        residuals=found,
        residual_inputs=[positions.get(x.node) for x in found],
        backward=Graph([*stand_ins, *cotangents], body.apply(stand_ins)),
    )


def _dependent_on(graph: Graph) -> set[Node]:
    """The graph's nodes whose values follow from its inputs: what else there is, is constant."""
    varying = {x.node for x in graph.inputs}
    for node in graph.nodes:
        if any(x.node in varying for x in node.inputs):
            varying.add(node)
    return varying


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
