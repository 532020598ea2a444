"""Whether a Module, an optimizer and what they are made of still are what they were.

A container says by ``__tree_watch__`` which dict decides its children and static description. All
that these dicts hold, and the lists and dicts inside, is compared by identity with what was there
before.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from chainrule.array import Array
from chainrule.tree import is_container

# values that stay what they are: the same object means the same signature
_FIXED = (int, float, str, bytes, complex, type(None), type, range, np.dtype, np.generic)
_FUNCTIONS = types.FunctionType, types.BuiltinFunctionType
_HASH: Any = object.__hash__


class Unwatchable(Exception):
    """Something may change without becoming another object."""


class Watch:
    """What some containers are made of, to see later whether they still are.

    Holds no Array: a model's old parameters must not stay in memory for this.

    Args:
        roots: The Modules and optimizers.

    Raises:
        Unwatchable: Their children are not decided by dicts and lists alone.

    Attributes:
        numbers: ``id`` of an Array → its number; for the time of construction only, while the
            Arrays are sure to live.
    """

    def __init__(self, roots: Sequence[Any]) -> None:
        from chainrule.program.compiler.runtime.watching import Contents, Held

        self._dicts: list[dict[Any, Any]] = []
        self._lists: list[list[Any]] = []
        self._seen: set[int] = set()
        for root in roots:
            self._take(root)
        values = [v for x in self._dicts for v in x.values()] + [v for x in self._lists for v in x]
        arrays = {id(x): x for x in values if isinstance(x, Array)}
        self.numbers = {key: number for number, key in enumerate(arrays)}
        self._references = [weakref.ref(x) for x in arrays.values()]

        def shown(x: Any) -> Any:
            return Held(self.numbers[id(x)]) if isinstance(x, Array) else x

        self._contents = Contents(
            [(x, [(k, shown(v)) for k, v in x.items()]) for x in self._dicts],
            [(x, [shown(v) for v in x]) for x in self._lists],
        )
        self._same = self._contents.same
        #: how many places hold each Array
        self.uses = [sum(v is x for v in values) for x in arrays.values()]

    def _take(self, x: Any) -> None:
        if id(x) in self._seen:
            return
        if isinstance(x, dict):
            self._inside(x, x.values())
        elif isinstance(x, list):
            self._seen.add(id(x))
            self._lists.append(x)
            for part in x:
                self._take(part)
        elif isinstance(x, tuple):
            for part in x:
                self._take(part)
        elif hasattr(x, "__tree_watch__"):
            self._seen.add(id(x))
            self._inside(x.__tree_watch__(), x.__tree_watch__().values())
        elif is_container(x) or not (isinstance(x, (Array, *_FIXED)) or _by_identity(x)):
            raise Unwatchable

    def _inside(self, held: dict[Any, Any], values: Iterable[Any]) -> None:
        if id(held) not in self._seen:
            self._seen.add(id(held))
            self._dicts.append(held)
            for value in values:
                self._take(value)

    def now(self) -> list[Any] | None:
        """The Arrays, by number; None if anything was replaced, added or taken away."""
        arrays = [reference() for reference in self._references]
        return arrays if self._same(arrays) else None

    def in_short(self) -> tuple[list[Any], Callable[[list[Any]], int]]:
        """What ``now`` asks: references to the Arrays, and whether these still are all."""
        return self._references, self._same

    def replace(self, number: int, array: Array) -> None:
        """An Array was replaced by another at all its places, by whoever watches."""
        self._references[number] = weakref.ref(array)


def _by_identity(x: Any) -> bool:
    """True for objects that hash by what they are, not by what they hold."""
    return isinstance(x, _FUNCTIONS) or getattr(type(x), "__hash__", None) is _HASH
