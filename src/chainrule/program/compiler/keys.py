"""Keys: graphs as canonical text, so that equal ones find the same machine code again.

Two graphs with one key have the same ops, attributes, shapes, constants and wiring. The names of
inputs and the places in the user's files do not count, but for ops that can blame one for a bad
index: their message names it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from chainrule.graph import Graph, Node

BLAMED = frozenset(("gather", "scatter"))


class UncacheableError(Exception):
    """An attribute has no canonical text: the graph is compiled anew each time."""


def graph_key(graph: Graph) -> str:
    """SHA-256 of the graph's canonical text, in hexadecimal.

    Raises:
        UncacheableError: An attribute holds something that is neither numbers, text nor graphs.
    """
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
        where = str(node.origin) if node.op.name in BLAMED else ""
        text = f"{node.op.name} {operands} {_text(node.attributes)} {where} {_text(node.specs)}\n"
        digest.update(text.encode())
    digest.update(repr([numbers.get((x.node, x.index), -1) for x in graph.outputs]).encode())
    return digest.hexdigest()


def _array(array: np.ndarray) -> bytes:
    content = np.ascontiguousarray(array)
    return f"{array.dtype}{array.shape} ".encode() + hashlib.sha256(content.tobytes()).digest()


def _text(value: Any) -> str:
    """An attribute as text that says all of it."""
    if value is None or isinstance(value, bool | int | float | str | np.dtype):
        return repr(value)
    if isinstance(value, np.generic):
        return f"{value.dtype}:{value!r}"
    if isinstance(value, np.ndarray):
        return _array(value).hex()
    if isinstance(value, Graph):
        return graph_key(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(k)}: {_text(v)}' for k, v in sorted(value.items()))}}}"
    raise UncacheableError(type(value).__name__)
