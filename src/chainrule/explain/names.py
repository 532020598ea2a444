"""Names: those the user gave, and the ones made up for the rest."""

from __future__ import annotations

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.ops.origin import here


def named(x: Array, name: str) -> Array:
    """Give an intermediate value the name that ``explain`` and messages call it by.

    Args:
        x: An Array without a name; it is named in place and costs no operation.
        name: Any text, ``"net_h1"``.

    Returns:
        The same Array (one output of an operation with several becomes a node of its own).

    Raises:
        ArgumentError: ``name`` is empty, or ``x`` goes by another name already.

    >>> import chainrule as cr
    >>> w = cr.variable(2.0, name="w")
    >>> named(w * 3.0, "h").name
    'h'
    """
    if not name or not isinstance(name, str):
        raise ArgumentError("a name is a text that is not empty", got=repr(name), where=str(here()))
    if len(x.node.specs) > 1:
        x = ops.identity(x)
    if x.node.name not in ("", name):
        raise ArgumentError(
            f"this value is called {x.node.name!r} already, and a value has one name",
            got=repr(name),
            fix="name it once, where it is computed",
            where=str(here()),
        )
    x.node.name = name
    return x


class Names:
    """Hands out each name once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """``wanted``, or ``wanted#2``, ``wanted#3``, ... if somebody has it."""
        wanted = " ".join(wanted.split()) or "?"
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}#{number}"
        self._taken.add(name)
        return name

    def make(self, letter: str) -> str:
        """The next of ``v1``, ``v2``, ... that is free."""
        while True:
            self._counts[letter] = self._counts.get(letter, 0) + 1
            name = f"{letter}{self._counts[letter]}"
            if name not in self._taken:
                self._taken.add(name)
                return name
