"""Keys: graphs as canonical text, so that equal ones find the same machine code again.

Two graphs with one key have the same ops, attributes, shapes, constants and wiring. The names of
inputs and the places in the user's files do not count: a graph's places are listed beside its key,
and machine code names the place to blame for a bad index by its number in that list. So the key
says only which of the ops that can blame one share a place.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from chainrule.graph import Graph, Node
from chainrule.ops.origin import Origin

BLAMED = frozenset(("gather", "scatter"))


class UncacheableError(Exception):
    """An attribute has no canonical text: the graph is compiled anew each time."""


class GraphKey:
    """A graph's canonical text, hashed.

    Args:
        graph: The graph.

    Attributes:
        text: SHA-256 of the canonical text, in hexadecimal.

    Raises:
        UncacheableError: An attribute holds something that is neither numbers, text nor graphs.
    """

    def __init__(self, graph: Graph) -> None:
        self._places: dict[Origin, int] = {}
        self.text = self._of(graph)

    @property
    def places(self) -> list[str]:
        """Where the graph's nodes come from, each place once; equal graphs' lists correspond."""
        return [str(origin) for origin in self._places]

    def _of(self, graph: Graph) -> str:
        digest = hashlib.sha256()
        numbers: dict[tuple[Node, int], int] = {}
        for x in graph.inputs:
            numbers[x.node, x.index] = len(numbers)
            digest.update(f"input {x.dtype}{x.shape}\n".encode())
        for node in graph.nodes:
            operands = [numbers.get((x.node, x.index), -1) for x in node.inputs]
            for index in range(len(node.specs)):
                numbers.setdefault((node, index), len(numbers))
            if node.values is not None:
                for buffer in node.values:
                    digest.update(b"constant " + _array(buffer.data))
                continue
            assert node.op is not None
            place = self._places.setdefault(node.origin, len(self._places))
            where = str(place) if node.op.name in BLAMED else ""
            attributes, specs = self._text(node.attributes), self._text(node.specs)
            digest.update(f"{node.op.name} {operands} {attributes} {where} {specs}\n".encode())
        digest.update(repr([numbers.get((x.node, x.index), -1) for x in graph.outputs]).encode())
        return digest.hexdigest()

    def _text(self, value: Any) -> str:
        """An attribute as text that says all of it."""
        if value is None or isinstance(value, bool | int | float | str | np.dtype):
            return repr(value)
        if isinstance(value, np.generic):
            return f"{value.dtype}:{value!r}"
        if isinstance(value, np.ndarray):
            return _array(value).hex()
        if isinstance(value, Graph):
            return self._of(value)
        if isinstance(value, tuple | list):
            return f"({', '.join(map(self._text, value))})"
        if isinstance(value, dict):
            items = sorted(value.items())
            return f"{{{', '.join(f'{self._text(k)}: {self._text(v)}' for k, v in items)}}}"
        raise UncacheableError(type(value).__name__)


def _array(array: np.ndarray) -> bytes:
    content = np.ascontiguousarray(array)
    return f"{array.dtype}{array.shape} ".encode() + hashlib.sha256(content.tobytes()).digest()
