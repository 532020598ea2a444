"""The leaves of a container that has a known structure, found quicker than by ``flatten``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from chainrule.array import Array
from chainrule.program.signature import Slot
from chainrule.tree import Structure, children, flatten, is_container


class Place(NamedTuple):
    """A leaf: its value, and the container that holds it under a key (None: a tuple)."""

    value: Any
    owner: Any
    key: Any


def read_places(x: Any, part: Structure, owner: Any, key: Any, found: list[Place]) -> bool:
    """List the leaves as ``flatten`` does; False if this is another structure.

    Args:
        x: The container.
        part: The structure that it is to have.
        owner: What holds it.
        key: Its key there.
        found: Gets the leaves, of any type: see ``fits``.
    """
    kind = part.kind
    if kind == "leaf":
        found.append(Place(x, owner, key))
        return True
    if type(x) is not kind:
        return False
    if not is_container(x):
        return flatten(x)[1] == part
    if hasattr(x, "__tree_static__") and x.__tree_static__() != part.static:
        return False
    holder = None if isinstance(x, tuple) else x
    pairs: Iterable[tuple[Any, Any]] = x.items() if kind is dict else children(x)
    number = 0
    for name, child in pairs:
        if number == len(part.keys) or name != part.keys[number]:
            return False
        if not read_places(child, part.parts[number], holder, name, found):
            return False
        number += 1
    return number == len(part.keys)


def fits(value: Any, spec: Slot) -> bool:
    """True if a leaf is what a slot was recorded for."""
    if isinstance(value, Array):
        alike = (value.shape, value.dtype, value.weak) == spec[1:]
        return alike and not value.node.traced
    if isinstance(value, float):
        return spec.weak
    return type(value) is np.ndarray and (value.shape, value.dtype) == spec[1:3] and not spec.weak
