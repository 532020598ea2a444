"""Containers as control flow sees them: Python numbers are Arrays, and two of them are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.array import Array, leaf
from chainrule.errors import DtypeError, ShapeError, StateError
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.tree import Leaf, Structure, flatten, unflatten


class Tree(NamedTuple):
    """A container taken apart.

    Args:
        arrays: Its leaves.
        paths: Where they lie, ``""`` for a bare Array.
        structure: What is left of it.
    """

    arrays: list[Array]
    paths: list[str]
    structure: Structure

    def rebuild(self, arrays: Sequence[Array]) -> Any:
        """The container around other leaves."""
        return unflatten(self.structure, list(arrays))


def take_apart(tree: Any) -> Tree:
    """Flatten a container; Python numbers become weak Arrays, dicts are sorted by key."""
    leaves, structure = flatten(_with_arrays(tree))
    return Tree([ops.as_value(x.value) for x in leaves], [x.path for x in leaves], structure)


def _with_arrays(tree: Any) -> Any:
    """Numbers as Arrays: elsewhere ints and bools would be part of the structure."""
    if isinstance(tree, bool | int | float) and not isinstance(tree, np.generic):
        return leaf(np.asarray(tree), weak=not isinstance(tree, bool))
    if isinstance(tree, dict):
        return {key: _with_arrays(tree[key]) for key in sorted(tree, key=str)}
    if isinstance(tree, list | tuple):
        parts = [_with_arrays(part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def named(path: str, what: str) -> str:
    """``what``, with the leaf's path if there is one."""
    return f"{what} {path!r}" if path else what


def strong(x: Array) -> Array:
    """A number that met no Array takes the default type."""
    if x.weak and dtypes.is_floating(x.dtype):
        return ops.astype(x, dtypes.default_float)
    return x


def check_structure(what: str, role: str, expected: Tree, got: Tree) -> None:
    """StateError unless both have the same containers and leaves.

    Args:
        what: Name of the construct.
        role: What ``got`` is.
        expected: What it is compared with.
        got: What came.
    """
    if got.structure == expected.structure:
        return
    missing = [path for path in expected.paths if path not in got.paths]
    added = [path for path in got.paths if path not in expected.paths]
    details = [f"without {', '.join(missing)}"] if missing else []
    details += [f"with {', '.join(added)} in addition"] if added else []
    leaves = ", ".join(path or "an Array" for path in expected.paths)
    raise StateError(
        f"{what}: {role} is structured otherwise",
        expected=f"the leaves {leaves}" if leaves else "no leaves",
        got=" and ".join(details) or "other containers or settings around the same leaves",
        fix="return the same dicts, lists and tuples",
        where=str(here()),
    )


def settle(what: str, path: str, start: Array, new: Array) -> Array:
    """The start of a carry in the type that it keeps: a Python number adopts that of the body."""
    if new.shape != start.shape:
        raise ShapeError(
            f"{what}: {named(path, 'the carry')} changes its shape from step to step",
            expected=str(start.shape),
            got=str(new.shape),
            fix="start with the final shape: cr.zeros(shape), cr.broadcast_to(x, shape)",
            where=str(here()),
        )
    kind = strong(new).dtype
    if kind == start.dtype:
        return start
    if start.weak and (
        dtypes.promote(start.dtype, kind) == kind
        or dtypes.is_floating(start.dtype) == dtypes.is_floating(kind)
    ):
        return ops.astype(start, kind)
    raise DtypeError(
        f"{what}: {named(path, 'the carry')} changes its type from step to step",
        expected=str(start.dtype),
        got=str(kind),
        fix=f"cast at the end of the body, cr.astype(x, cr.{start.dtype}), or start with {kind}",
        where=str(here()),
    )


def check_state(what: str, place: Leaf, new: Array) -> None:
    """StateError unless a stored value has the shape and type of what was there."""
    old = place.value
    if (new.shape, new.dtype) != (old.shape, old.dtype):
        raise StateError(
            f"{what}: the body stores another shape or type into {place.path!r}",
            expected=f"{old.dtype}{list(old.shape)}",
            got=f"{new.dtype}{list(new.shape)}",
            where=str(new.node.origin),
        )
