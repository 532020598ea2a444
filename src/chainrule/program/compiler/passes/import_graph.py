"""Import: a Graph's nodes become instructions of a block that passes may change.

Reason: nodes belong to users and are immutable; and a compiler sees further without the walls that
the graph has around Composites, checkpoints and functions with derivatives of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import CompilerError
from chainrule.graph import Graph, Node
from chainrule.ops.origin import Origin
from chainrule.program.compiler.attention.operations import Attentions
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.row_bounds import COMPOSITE, bound_by


def import_graph(graph: Graph) -> Block:
    """The graph as a block: same inputs, same outputs, in the same order.

    - Leaves with a value become constants, shared by all blocks that read them.
    - Attention that tiles compute faster becomes an instruction of the compiler's own, and so does
      a bound on the rows of a loop's step.
    - Composites, checkpoints and ``custom_vjp`` are inlined; the barriers that keep a checkpoint's
      recomputation apart stay. An inlined Composite has the origin of its node: its body was
      recorded wherever it was used first.
    - ``scan``, ``cond`` and ``while_loop`` keep their graphs as blocks.

    Raises:
        CompilerError: The graph reads a placeholder that is none of its inputs.
    """
    return _Importer().block(graph)


class _Importer:
    """Holds the constants found so far."""

    def __init__(self) -> None:
        self.constants: dict[Node, list[Tensor]] = {}
        self.attentions = Attentions()

    def block(self, graph: Graph) -> Block:
        inputs = [Tensor(x.shape, x.dtype, name=x.node.name) for x in graph.inputs]
        instructions: list[Instruction] = []
        outputs = self.inline(graph, inputs, instructions, None)
        return Block(inputs, instructions, outputs)

    def inline(
        self,
        graph: Graph,
        arguments: Sequence[Tensor],
        instructions: list[Instruction],
        origin: Origin | None,
    ) -> list[Tensor]:
        """Append the graph's nodes to ``instructions``; return its outputs.

        Args:
            graph: What to inline.
            arguments: One tensor an input.
            instructions: The block's list.
            origin: Origin of all instructions; None: that of their nodes.
        """
        known: dict[tuple[Node, int], Tensor] = {
            (x.node, x.index): argument for x, argument in zip(graph.inputs, arguments, strict=True)
        }
        for node in graph.nodes:
            if node.values is not None:
                results: Sequence[Tensor] = self.constant(node)
            elif node.op is None:
                raise CompilerError(
                    f"the graph reads the placeholder {node.name!r}, which is none of its inputs",
                    where=str(node.origin),
                )
            else:
                operands = [known[x.node, x.index] for x in node.inputs]
                results = self.apply(node, operands, instructions, origin)
            for index, result in enumerate(results):
                known[node, index] = result
        return [known[x.node, x.index] for x in graph.outputs]

    def constant(self, node: Node) -> list[Tensor]:
        """The tensors of an evaluated node."""
        found = self.constants.get(node)
        if found is None:
            assert node.values is not None
            arrays = [np.asarray(buffer.data) for buffer in node.values]
            found = [Tensor(x.shape, x.dtype, constant=x, name=node.name) for x in arrays]
            self.constants[node] = found
        return found

    def apply(
        self,
        node: Node,
        operands: list[Tensor],
        instructions: list[Instruction],
        origin: Origin | None,
    ) -> Sequence[Tensor]:
        """Append one node, or what it stands for; return its results."""
        op = node.op
        assert op is not None
        if op.family == "composite":
            own, place = dict(node.attributes["attributes"]), origin or node.origin
            known = self.attentions.recognise(op.name, own, operands, instructions, place)
            if known is not None:
                return [known]
            if op.name == COMPOSITE:
                instructions.append(bound_by(operands[1], place))
                return operands[:1]
            body = node.attributes["body"]
            return self.inline(body, operands, instructions, origin or node.origin)
        if op.name == "checkpoint":
            return self.inline(node.attributes["body"], operands, instructions, origin)
        if op.name == "custom_vjp":  # its derivative has been taken: results pass through
            return operands[: node.attributes["counts"].results]
        attributes: dict[str, Any] = node.attributes
        bodies: dict[str, Block] = {}
        if op.family == "control":
            bodies = {k: self.block(v) for k, v in attributes.items() if isinstance(v, Graph)}
            attributes = {k: v for k, v in attributes.items() if k not in bodies}
        made = Instruction(op, operands, attributes, node.specs, origin or node.origin, bodies)
        instructions.append(made)
        return made.results
