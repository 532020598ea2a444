"""Borders around the last axes: constant, mirrored, repeated, or continued from the other side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.checks import one_of
from chainrule.ops.origin import here

Pairs = Sequence[tuple[int, int]]

MODES = ("constant", "reflect", "replicate", "circular")


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Array:
    """A border around the last axes; PyTorch's order of the widths: last axis first.

    Args:
        x: Any shape.
        pad: (left, right, top, bottom, front, back), or fewer; negative widths cut off
            (``"constant"`` only).
        mode: ``"constant"``, ``"reflect"`` (mirrored, the edge not repeated), ``"replicate"`` (the
            edge repeated) or ``"circular"`` (continued from the other side).
        value: What a constant border holds.

    Raises:
        ArgumentError: An unknown mode, or widths that are not in pairs.
        ShapeError: A mirrored or circular border is wider than the input has elements for.

    >>> import chainrule as cr
    >>> pad(cr.asarray([1.0, 2.0, 3.0]), (2, 1), mode="reflect")
    Array([3., 2., 1., 2., 3., 2.], float32)
    """
    array: Array = ops.as_value(x)
    widths = tuple(pad)
    if len(widths) % 2 or len(widths) > 2 * array.ndim:
        raise ArgumentError(
            "pad: the widths do not fit the input",
            expected=f"(before, after) for up to {array.ndim} axes, last axis first",
            got=str(widths),
            where=str(here()),
        )
    pairs = [(int(a), int(b)) for a, b in zip(widths[::2], widths[1::2], strict=True)]
    return pad_last_axes(array, pairs[::-1], mode, value)


def pad_last_axes(x: Array, pairs: Pairs, mode: str = "constant", value: float = 0.0) -> Array:
    """A border around the last axes, ``(before, after)`` for each in the order of the axes."""
    one_of(mode, MODES, "pad: mode")
    first = x.ndim - len(pairs)
    if mode == "constant":
        return _constant(x, first, pairs, value)
    for axis, (before, after) in enumerate(pairs, start=first):
        if before or after:
            _check_width(x, axis, before, after, mode)
            x = ops.concat(_BORDERS[mode](x, axis, before, after), axis=axis)
    return x


def _constant(x: Array, first: int, pairs: Pairs, value: float) -> Array:
    cut = [
        slice(max(0, -a), n + min(0, b)) for n, (a, b) in zip(x.shape[first:], pairs, strict=True)
    ]
    if any(part.stop < part.start for part in cut):
        raise ShapeError(
            "pad: negative widths cut off more than there is",
            expected=f"at most {x.shape[first:]} elements cut off",
            got=str(tuple(pairs)),
            where=str(here()),
        )
    if any(min(pair) < 0 for pair in pairs):
        x = x[(..., *cut)]
    if all(max(pair) <= 0 for pair in pairs):
        return x
    added = [(max(0, a), max(0, b)) for a, b in pairs]
    return ops.pad(x, [(0, 0)] * first + added, value=value)


def _check_width(x: Array, axis: int, before: int, after: int, mode: str) -> None:
    size = x.shape[axis]
    # a mirror shows all but the edge; a repeated edge needs one element; a circle comes round once
    most = {"reflect": size - 1, "circular": size}.get(mode)
    enough = size > 0 if most is None else max(before, after) <= most
    if min(before, after) < 0 or not enough:
        limit = "≥ 0" if most is None else f"0 to {max(most, 0)}"
        raise ShapeError(
            f"pad: a {mode} border does not fit axis {axis} of {x.shape}",
            expected=f"widths {limit}, and at least one element",
            got=f"{before} before and {after} after {size} elements",
            fix='a narrower border, or mode="constant"',
            where=str(here()),
        )


def _part(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[(*[slice(None)] * axis, slice(start, stop))]


def _mirrored(x: Array, axis: int, before: int, after: int) -> list[Array]:
    n = x.shape[axis]
    front = ops.flip(_part(x, axis, 1, before + 1), axis=axis)
    return [front, x, ops.flip(_part(x, axis, n - 1 - after, n - 1), axis=axis)]


def _repeated(x: Array, axis: int, before: int, after: int) -> list[Array]:
    n = x.shape[axis]

    def edge(place: int, width: int) -> Array:
        shape = (*x.shape[:axis], width, *x.shape[axis + 1 :])
        return ops.broadcast_to(_part(x, axis, place, place + 1), shape)

    return [edge(0, before), x, edge(n - 1, after)]


def _continued(x: Array, axis: int, before: int, after: int) -> list[Array]:
    n = x.shape[axis]
    return [_part(x, axis, n - before, n), x, _part(x, axis, 0, after)]


_BORDERS: dict[str, Callable[[Array, int, int, int], list[Array]]] = {
    "reflect": _mirrored,
    "replicate": _repeated,
    "circular": _continued,
}
