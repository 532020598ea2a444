"""Which input places each element of a recorded value can depend on, op by op."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.array import Array
from chainrule.graph import Node, topological


class Field(NamedTuple):
    """One axis of a value moves along one axis of the input.

    Element i of ``axis`` sees the input's places ``start + i · stride`` to
    ``start + i · stride + size − 1``.

    Args:
        axis: The value's axis.
        size: Places that an element sees.
        stride: Places between neighbours.
        start: First place of element 0; negative in the padding.
    """

    axis: int
    size: int
    stride: int
    start: int


class Whole(NamedTuple):
    """Every element may see every place."""


#: of one value along one input axis; None: it does not depend on the input
Seen = Field | Whole | None
Rule = Callable[[Node, list[Seen]], Seen]
WHOLE = Whole()


def _mixed(seen: Seen) -> Seen:
    """What is left where all places of an axis meet."""
    return None if seen is None else WHOLE


def joined(seen: Sequence[Seen]) -> Seen:
    """What sees either of several: the field around them, if they move alike."""
    present = [s for s in seen if s is not None]
    if not present:
        return None
    fields = [s for s in present if isinstance(s, Field)]
    if len(fields) < len(present) or len({(f.axis, f.stride) for f in fields}) > 1:
        return WHOLE
    start = min(f.start for f in fields)
    end = max(f.start + f.size for f in fields)
    return Field(fields[0].axis, end - start, fields[0].stride, start)


def _windowed(field: Field, kernel: int, stride: int, dilation: int, before: int) -> Field:
    return Field(
        field.axis,
        field.size + (kernel - 1) * dilation * field.stride,
        field.stride * stride,
        field.start - before * field.stride,
    )


def _convolution(node: Node, seen: list[Seen]) -> Seen:
    field, weight = seen
    if not isinstance(field, Field) or weight is not None:
        return _mixed(joined(seen))
    i, a = field.axis - 2, node.attributes
    if i < 0 or a["input_dilation"][i] != 1:
        return WHOLE
    kernel = node.inputs[1].shape[field.axis]
    return _windowed(field, kernel, a["stride"][i], a["kernel_dilation"][i], a["padding"][i][0])


def _windows(node: Node, seen: list[Seen]) -> Seen:
    field = seen[0]
    if not isinstance(field, Field):
        return field
    a = node.attributes
    i = field.axis - (len(node.inputs[0].shape) - len(a["window"]))
    if i < 0:
        return field
    return _windowed(field, a["window"][i], a["stride"][i], a["dilation"][i], a["padding"][i][0])


def _reshape(node: Node, seen: list[Seen]) -> Seen:
    field = seen[0]
    if not isinstance(field, Field):
        return field
    old, new = node.inputs[0].shape, node.specs[0][0]
    before = math.prod(old[: field.axis])
    for axis, size in enumerate(new):
        if size == old[field.axis] and math.prod(new[:axis]) == before:
            return field._replace(axis=axis)
    return WHOLE


def _pad(node: Node, seen: list[Seen]) -> Seen:
    field = seen[0]
    if not isinstance(field, Field):
        return field
    if node.attributes["interior"][field.axis]:
        return WHOLE
    return _windowed(field, 1, 1, 1, node.attributes["low"][field.axis])


def _slice(node: Node, seen: list[Seen]) -> Seen:
    field = seen[0]
    if not isinstance(field, Field):
        return field
    first, step = node.attributes["starts"][field.axis], node.attributes["strides"][field.axis]
    return _windowed(field, 1, step, 1, -first)


def _concatenate(node: Node, seen: list[Seen]) -> Seen:
    result = joined(seen)
    if isinstance(result, Field) and result.axis == node.attributes["axis"]:
        return WHOLE
    return result


def _transpose(node: Node, seen: list[Seen]) -> Seen:
    field = seen[0]
    if not isinstance(field, Field):
        return field
    return field._replace(axis=list(node.attributes["axes"]).index(field.axis))


def _broadcast(node: Node, seen: list[Seen]) -> Seen:
    field = seen[0]
    if not isinstance(field, Field):
        return field
    old, new = node.inputs[0].shape, node.specs[0][0]
    axis = field.axis + len(new) - len(old)
    return field._replace(axis=axis) if new[axis] == old[field.axis] else WHOLE


def _reduction(node: Node, seen: list[Seen]) -> Seen:
    field = seen[0]
    axes = node.attributes.get("axes")
    if not isinstance(field, Field) or axes is None or field.axis in axes:
        return _mixed(field)
    return field._replace(axis=field.axis - sum(axis < field.axis for axis in axes))


def _dot_general(node: Node, seen: list[Seen]) -> Seen:
    left, right = seen
    if (left is None) == (right is None):
        return None if left is None else WHOLE
    side = 0 if right is None else 1
    field = seen[side]
    contract, batch = node.attributes["contract"], node.attributes["batch"]
    if not isinstance(field, Field) or field.axis in contract[side]:
        return WHOLE
    if field.axis in batch[side]:
        return field._replace(axis=list(batch[side]).index(field.axis))
    ndims = [len(x.shape) for x in node.inputs]
    free = [
        [axis for axis in range(ndims[s]) if axis not in (*contract[s], *batch[s])] for s in (0, 1)
    ]
    axis = len(batch[0]) + side * len(free[0]) + free[side].index(field.axis)
    return field._replace(axis=axis)


_RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "windows": _windows,
    "reshape": _reshape,
    "pad": _pad,
    "slice": _slice,
    "concatenate": _concatenate,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "dot_general": _dot_general,
}


def _through(node: Node, seen: list[Seen]) -> Seen:
    """What a node's outputs see, given what its operands do."""
    assert node.op is not None
    if all(s is None for s in seen):
        return None
    if node.op.name in _RULES:
        return _RULES[node.op.name](node, seen)
    if node.op.family == "elementwise":
        return joined(seen)
    if node.op.family == "reduction":
        return _reduction(node, seen)
    if node.op.family == "composite":
        body = node.attributes["body"]
        return _walk(body.nodes, dict(zip((x.node for x in body.inputs), seen, strict=True)))[
            body.outputs[0].node
        ]
    return WHOLE  # gathers, sorting, loops: anything may depend on anything


def _walk(nodes: Sequence[Node], known: dict[Node, Seen]) -> dict[Node, Seen]:
    for node in nodes:
        if node not in known:
            known[node] = (
                None
                if node.op is None
                else _through(node, [known.get(x.node) for x in node.inputs])
            )
    return known


def fields_of(x: Array, axes: Sequence[int], outputs: Sequence[Array]) -> list[tuple[Seen, ...]]:
    """What each of ``outputs`` sees of ``x``, for each of the axes of ``x``.

    Args:
        x: The input that they were recorded from.
        axes: Axes of ``x``.
        outputs: Recorded values.
    """
    nodes = topological(outputs)
    along: list[dict[Node, Any]] = [_walk(nodes, {x.node: Field(axis, 1, 1, 0)}) for axis in axes]
    return [tuple(known[output.node] for known in along) for output in outputs]
