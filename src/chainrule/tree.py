"""Containers of Arrays: how dicts, lists, Modules and optimizers are taken apart and refilled.

A container is a dict, list, tuple, named tuple, or an object that follows the protocol::

    def __tree_children__(self) -> Iterable[tuple[str, Any]]   # named Arrays, scalars, containers
    def __tree_assign__(self, name: str, value: Any) -> None   # put a child back
    def __tree_static__(self) -> Hashable                      # what else decides how it computes
    def __tree_watch__(self) -> dict[str, Any]                 # optional: what decides all of that,
                                                               # ``__prepare__`` included

Leaves are Arrays, NumPy arrays and Python floats (traced scalars). Everything else (ints, strings,
bools, functions) is static: part of the structure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.array import Array
from chainrule.errors import StateError

# Made once: a union written where it is asked for is built anew each time, and these are hot.
_LEAVES = Array, np.ndarray, float, np.generic
_PLAIN = dict, list, tuple
_MUTABLE = dict, list


class Leaf(NamedTuple):
    """One leaf and the place that holds it.

    Args:
        path: Names from the root, joined by dots: ``"encoder.0.weight"``.
        value: Array, NumPy array or Python float.
        owner: The container that holds it; None for a bare leaf or a tuple's.
        key: Its name, index or key there.
    """

    path: str
    value: Any
    owner: Any
    key: Any

    def assign(self, value: Any) -> None:
        """Put ``value`` in the leaf's place."""
        if is_mutable(self.owner):
            put_in(self.owner, self.key, value)
        else:
            raise StateError(
                f"the leaf {self.path or 'argument'!r} lies in no container that can be written to",
                fix="hold it in a dict, list or Module",
            )


def is_leaf(x: Any) -> bool:
    """True for an Array, a NumPy array or a Python (or NumPy) float."""
    return isinstance(x, _LEAVES)


def is_container(x: Any) -> bool:
    """True for what ``flatten`` takes apart."""
    return isinstance(x, _PLAIN) or hasattr(x, "__tree_children__")


def is_mutable(x: Any) -> bool:
    """True for a container whose leaves can be replaced in place."""
    return isinstance(x, _MUTABLE) or hasattr(x, "__tree_assign__")


def put_in(owner: Any, key: Any, value: Any) -> None:
    """Replace one child of a mutable container."""
    if type(owner) is dict or not hasattr(owner, "__tree_assign__"):
        owner[key] = value
    else:
        owner.__tree_assign__(key, value)


def children(x: Any) -> list[tuple[Any, Any]]:
    """Keys and children of a container, in a fixed order."""
    if isinstance(x, dict):
        return list(x.items())
    if isinstance(x, list | tuple):
        return list(enumerate(x))
    return list(x.__tree_children__())


class Structure(NamedTuple):
    """What remains of a container without its leaves; hashable.

    Args:
        kind: Type of the container, or of the static value.
        keys: Keys of the children, in order.
        parts: Structures of the children.
        static: The static value, or a container's own static description.
    """

    kind: Any
    keys: tuple[Any, ...]
    parts: tuple[Structure, ...]
    static: Hashable


_LEAF = Structure("leaf", (), (), None)


def flatten(tree: Any) -> tuple[list[Leaf], Structure]:
    """Take a container apart.

    Returns:
        The leaves in order, and the structure.

    Example:
        >>> leaves, _ = flatten({"w": Array.__new__(Array), "rate": 0.1})
        >>> [leaf.path for leaf in leaves]
        ['w', 'rate']
    """
    leaves: list[Leaf] = []
    return leaves, _visit(tree, "", None, None, leaves)


def _visit(x: Any, path: str, owner: Any, key: Any, leaves: list[Leaf]) -> Structure:
    # no closure: a function that refers to itself would keep the leaves alive until the next
    # garbage collection
    if is_leaf(x):
        leaves.append(Leaf(path, x, owner, key))
        return _LEAF
    if not is_container(x):
        return Structure(type(x), (), (), _static(x))
    pairs = children(x)
    holder = x if is_mutable(x) else None
    parts = tuple(
        _visit(child, f"{path}.{name}" if path else str(name), holder, name, leaves)
        for name, child in pairs
    )
    static = x.__tree_static__() if hasattr(x, "__tree_static__") else None
    return Structure(type(x), tuple(name for name, _ in pairs), parts, static)


def _static(x: Any) -> Hashable:
    try:
        hash(x)
    except TypeError:
        return id(x)
    return x


def unflatten(structure: Structure, values: Sequence[Any]) -> Any:
    """Rebuild a container of dicts, lists and tuples around new leaves.

    Raises:
        StateError: The structure holds an object that can only be filled in place.
    """
    return _build(structure, iter(values))


def _build(part: Structure, feed: Iterator[Any]) -> Any:
    if part.kind == "leaf":
        return next(feed)
    inner = [_build(child, feed) for child in part.parts]
    if part.kind is dict:
        return dict(zip(part.keys, inner, strict=True))
    if part.kind is list:
        return inner
    if isinstance(part.kind, type) and issubclass(part.kind, tuple):
        return part.kind(*inner) if hasattr(part.kind, "_fields") else tuple(inner)
    if part.parts or part.keys:
        raise StateError(
            f"a {part.kind.__name__} can not be rebuilt from leaves",
            fix="return its Arrays in a dict, list or tuple",
        )
    return part.static


def map_leaves(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply ``function`` to each leaf (and those of ``others`` at the same places)."""
    leaves, structure = flatten(tree)
    columns = [[leaf.value for leaf in flatten(other)[0]] for other in others]
    for column in columns:
        if len(column) != len(leaves):
            raise StateError("the containers differ in their number of leaves")
    values = [
        function(leaf.value, *(column[i] for column in columns)) for i, leaf in enumerate(leaves)
    ]
    return unflatten(structure, values)
