"""Graphs: nodes, the walks over them, and closed graphs that can be run or recorded again.

A node is one application of an op. Nodes are immutable in meaning, compare by identity and hold
their operands in order, repeats included; all walks are iterative, so depth costs no stack.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from chainrule.ops.hooks import Value, hooks
from chainrule.ops.origin import Origin, here, origin_of
from chainrule.ops.record import Op, Spec, bind

_serials = itertools.count(1)


def next_serial() -> int:
    """Serial number that the next node will exceed: a mark for "recorded after now"."""
    return next(_serials)


class Buffer:
    """Evaluated data: an ndarray that nobody writes to while it has holders, and its device.

    An engine may derive from it a buffer whose ``data`` is made when somebody looks.

    Args:
        data: C-contiguous or strided ndarray; the buffer takes it over.
        device: Where the data lies; ``"cpu"``.
    """

    __slots__ = ("__weakref__", "data", "device")

    def __init__(self, data: np.ndarray, device: str = "cpu") -> None:
        self.data = data
        self.device = device

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the data."""
        return self.data.dtype


class Node:
    """One application of an op, or a leaf (``op`` is None).

    Args:
        op: The primitive or Composite; None for a constant, variable or placeholder.
        inputs: Operands, in order.
        attributes: Static arguments of the op.
        specs: ``(shape, dtype)`` of each output.
        tracked: A variable, or descends from one: keeps its operands after evaluation.
        traced: Depends on a placeholder: has no value until the graph is run on some.
        values: Evaluated outputs; None until evaluated, and always for placeholders.
        name: The user's name, ``""`` if there is none.
        owned: The value was stored into a Module or optimizer.
    """

    __slots__ = (
        "__weakref__",
        "attributes",
        "inputs",
        "name",
        "op",
        "origin",
        "owned",
        "serial",
        "specs",
        "traced",
        "tracked",
        "values",
    )

    def __init__(
        self,
        op: Op | None,
        inputs: tuple[Value, ...],
        attributes: dict[str, Any],
        specs: tuple[Spec, ...],
        tracked: bool = False,
        traced: bool = False,
        *,
        values: tuple[Buffer, ...] | None = None,
        name: str = "",
        owned: bool = False,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attributes = attributes
        self.specs = specs
        self.values = values
        self.tracked = tracked
        self.traced = traced
        self.name = name
        self.owned = owned
        self.origin: Origin = here(3)  # past this, the recording function and what called it
        self.serial = next(_serials)

    @property
    def is_placeholder(self) -> bool:
        """True for an input of a trace: a leaf that has no value."""
        return self.op is None and self.values is None

    def release_inputs(self) -> None:
        """Forget how an evaluated node came about: it is a constant from now on."""
        self.op = None
        self.inputs = ()
        self.attributes = {}

    def __repr__(self) -> str:
        operands = ", ".join(f"%{x.node.serial}" for x in self.inputs)
        return f"%{self.serial} = {self.op or self.name or 'leaf'}({operands})"


def value_node(
    spec: Spec, buffer: Buffer, tracked: bool, name: str, owned: bool, origin: Origin
) -> Node:
    """A leaf that has a value: as ``Node`` makes it, in a third of the time.

    Every call of a compiled function makes some, and every piece of state that it writes.
    """
    node = _new_node(Node)
    node.op = None
    node.inputs = ()
    node.attributes = {}
    node.specs = (spec,)
    node.values = (buffer,)
    node.tracked = tracked
    node.traced = False
    node.name = name
    node.owned = owned
    node.origin = origin
    node.serial = next(_serials)
    return node


_new_node = Node.__new__


def topological(
    outputs: Iterable[Value], enter: Callable[[Node], bool] | None = None
) -> list[Node]:
    """All nodes that ``outputs`` depend on, operands before users, each once.

    Args:
        outputs: Where to start.
        enter: Only nodes for which this holds are listed and looked behind; None: all.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    for root in outputs:
        stack: list[tuple[Node, int]] = [(root.node, 0)]
        while stack:
            node, position = stack.pop()
            if position == 0:
                if node in seen or (enter is not None and not enter(node)):
                    continue
                seen.add(node)
            inputs = node.inputs
            while position < len(inputs) and inputs[position].node in seen:
                position += 1
            if position < len(inputs):
                stack.append((node, position + 1))
                stack.append((inputs[position].node, 0))
            else:
                order.append(node)
    return order


class Graph:
    """A closed graph: what to feed, what comes out, and the nodes between.

    Args:
        inputs: Placeholders.
        outputs: Arrays that depend on the inputs and on constants alone.
    """

    __slots__ = ("__weakref__", "_nodes", "inputs", "outputs")

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._nodes: list[Node] | None = None

    @property
    def nodes(self) -> list[Node]:
        """Operands before users; constants included where reached, the inputs' own nodes not."""
        if self._nodes is None:
            inputs = {x.node for x in self.inputs}
            self._nodes = [node for node in topological(self.outputs) if node not in inputs]
        return self._nodes

    def evaluate(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the graph with NumPy, node by node.

        Args:
            values: One array an input.
        """
        return hooks.evaluate(self, values)

    def apply(self, arguments: Sequence[Value]) -> list[Value]:
        """Record the nodes again with ``arguments`` in place of the inputs."""
        known: dict[tuple[Node, int], Value] = {
            (x.node, x.index): argument for x, argument in zip(self.inputs, arguments, strict=True)
        }
        for node in self.nodes:
            if node.op is None:
                continue
            operands = tuple(known.get((x.node, x.index), x) for x in node.inputs)
            if all(a is b for a, b in zip(operands, node.inputs, strict=True)):
                continue
            with origin_of(node.origin):
                results = bind(node.op, *operands, **node.attributes)
            results = results if isinstance(results, tuple) else (results,)
            for index, result in enumerate(results):
                known[node, index] = result
        return [known.get((x.node, x.index), x) for x in self.outputs]

    def __repr__(self) -> str:
        lines = [f"graph({', '.join(_describe_leaf(x) for x in self.inputs)}):"]
        lines += [f"  {node!r}  {node.specs}" for node in self.nodes]
        return "\n".join(
            [*lines, f"  return {', '.join(f'%{x.node.serial}' for x in self.outputs)}"]
        )


def _describe_leaf(x: Value) -> str:
    return f"%{x.node.serial}: {x.dtype}{list(x.shape)}"


def needed_inputs(outputs: Sequence[Value], inputs: Sequence[Value]) -> set[int]:
    """Positions of the ``inputs`` that ``outputs`` depend on."""
    reached = set(topological(outputs))
    return {i for i, x in enumerate(inputs) if x.node in reached}


hooks.graph = Graph
hooks.needed_inputs = needed_inputs
