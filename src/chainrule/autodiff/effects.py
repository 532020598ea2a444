"""Writes of traced functions: which containers a function can reach, and what it stored there.

A Module that updates a buffer inside ``checkpoint``, ``cond`` or ``scan`` stores a value of the
body. These values become results of the recorded node, and the node's results are stored instead.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from chainrule.array import Array, cut
from chainrule.autodiff.arguments import is_module
from chainrule.errors import StateError
from chainrule.ops.origin import here
from chainrule.random import RandomState
from chainrule.tree import Leaf, flatten

Slot: TypeAlias = tuple[int, Any]  # identity of the container, and the name in it


class Written(NamedTuple):
    """A place that a function stored something new into.

    Args:
        leaf: The place, with the value that it held before and holds again.
        value: What was stored.
    """

    leaf: Leaf
    value: Array


class Watch:
    """Notes what the containers that ``roots`` reach hold, to find what was stored into them.

    Args:
        roots: Functions, bound methods, Modules and containers of them. Functions are searched
            through their closures, defaults and the globals that they name.
        random_states: Watch RandomStates too.
    """

    def __init__(self, *roots: Any, random_states: bool = False) -> None:
        self._containers = [
            x for x in reachable(roots) if random_states or not isinstance(x, RandomState)
        ]
        self.before = self._leaves()

    def _leaves(self) -> dict[Slot, Leaf]:
        found: dict[Slot, Leaf] = {}
        for container in self._containers:
            for leaf in flatten(container)[0]:
                if leaf.owner is not None and isinstance(leaf.value, Array):
                    found.setdefault((id(leaf.owner), leaf.key), leaf)
        return found

    def take(self) -> dict[Slot, Written]:
        """Return what was stored since, and put back what was there before.

        Raises:
            StateError: A container got an entry that it did not have.
        """
        written = {}
        added = None
        for slot, leaf in self._leaves().items():
            old = self.before.get(slot)
            if old is None:
                added = leaf
            elif leaf.value is not old.value:
                written[slot] = Written(old, leaf.value)
        for old, _ in written.values():
            old.assign(old.value)
        if added is not None:
            raise StateError(
                f"the traced function added the entry {added.path!r} to a container",
                expected="the same entries after the call as before it",
                fix="create all state beforehand, for instance in __init__",
                where=str(here()),
            )
        return written


def store(leaf: Leaf, value: Array, outermost: bool) -> None:
    """Store a node's result where the function had stored a value of its body.

    Args:
        leaf: The place.
        value: The result.
        outermost: No transform is at work around: the value is evaluated and its history cut.
    """
    if outermost:
        trainable = is_module(leaf.owner) and leaf.owner.__tree_trainable__(leaf.key)
        value = cut(value, tracked=trainable, name=str(leaf.key), owned=True)
    leaf.assign(value)


def reachable(roots: Sequence[Any]) -> list[Any]:
    """All containers with replaceable leaves that functions and containers lead to."""
    found: list[Any] = []
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if hasattr(x, "__tree_assign__"):
            found.append(x)
        else:
            stack.extend(_inside(x))
    return found


def _inside(x: Any) -> Iterator[Any]:
    if isinstance(x, dict):
        yield from x.values()
    elif isinstance(x, list | tuple):
        yield from x
    elif isinstance(x, types.FunctionType):
        yield from _caught(x)
    elif isinstance(x, types.MethodType):
        yield x.__func__
        yield x.__self__
        if not hasattr(x.__self__, "__tree_assign__"):
            yield from getattr(x.__self__, "__dict__", {}).values()
    elif isinstance(x, functools.partial):
        yield from (x.func, x.args, x.keywords)
    elif callable(x) and hasattr(x, "__wrapped__"):
        yield x.__wrapped__


def _caught(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is not assigned yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        for name in code.co_names:
            value = function.__globals__.get(name)
            if hasattr(value, "__tree_assign__"):
                yield value
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
