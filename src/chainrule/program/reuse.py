"""Calls that are like an earlier one: the same Module, unchanged, and arrays of the same kind.

Taking a model apart costs far more than a small network takes to run. A ``Shortcut`` remembers what
a call found out, and what it depended on; if all of that is still so, the next call goes
straight to the machine code. It only serves Programs that write no state, and containers that say
by ``__tree_watch__`` which dict decides their children and static description.
"""

from __future__ import annotations

import operator
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from chainrule.array import Array, leaf
from chainrule.program.program import Program
from chainrule.program.signature import Call
from chainrule.tree import is_container, unflatten

# values that stay what they are: the same object means the same signature
_FIXED = (int, float, str, bytes, complex, type(None), type, range, np.dtype, np.generic)
_HASH: Any = object.__hash__


class Unwatchable(Exception):
    """Something may change without becoming another object."""


class Watch:
    """What a Module is made of, to see later whether it still is.

    Holds no Array: a model's old parameters must not stay in memory for this.

    Args:
        root: The Module.

    Raises:
        Unwatchable: Its children are not decided by dicts and lists alone.
    """

    def __init__(self, root: Any) -> None:
        self.dicts: list[dict[Any, Any]] = []
        self.lists: list[list[Any]] = []
        self._take(root)
        self._values = [x.values() for x in self.dicts]
        self.keys = [*chain.from_iterable(self.dicts)]
        self.sizes = [*map(len, self.lists)]
        now = self._now()
        arrays = [n for n, x in enumerate(now) if isinstance(x, Array)]
        others = [n for n, x in enumerate(now) if not isinstance(x, Array)]
        self._arrays, self._others = _picking(arrays), _picking(others)
        self._references = [weakref.ref(now[n]) for n in arrays]
        self._kept = [now[n] for n in others]

    def _now(self) -> list[Any]:
        return [*chain.from_iterable(self._values), *chain.from_iterable(self.lists)]

    def _take(self, x: Any) -> None:
        if isinstance(x, dict):
            self._inside(x, x.values())
        elif isinstance(x, list):
            self.lists.append(x)
            for part in x:
                self._take(part)
        elif isinstance(x, tuple):
            for part in x:
                self._take(part)
        elif hasattr(x, "__tree_watch__") and not hasattr(x, "__step_scalars__"):
            self._inside(x.__tree_watch__(), x.__tree_watch__().values())
        elif is_container(x) or not (isinstance(x, (Array, *_FIXED)) or _by_identity(x)):
            raise Unwatchable

    def _inside(self, held: dict[Any, Any], values: Iterable[Any]) -> None:
        self.dicts.append(held)
        for value in values:
            self._take(value)

    def is_same(self) -> bool:
        """True if nothing was replaced, added or taken away."""
        now = self._now()
        return (
            len(now) == len(self._references) + len(self._kept)
            and all(map(operator.is_, self._others(now), self._kept))
            and all(map(operator.is_, self._arrays(now), map(operator.call, self._references)))
            and [*chain.from_iterable(self.dicts)] == self.keys
            and [*map(len, self.lists)] == self.sizes
        )


def _picking(places: Sequence[int]) -> Callable[[list[Any]], Sequence[Any]]:
    """A function that picks the elements at these places."""
    if len(places) == 1:
        (only,) = places
        return lambda x: (x[only],)
    return operator.itemgetter(*places) if places else lambda x: ()


def _by_identity(x: Any) -> bool:
    """True for objects that hash by what they are, not by what they hold."""
    functions = types.FunctionType, types.BuiltinFunctionType
    return isinstance(x, functions) or getattr(type(x), "__hash__", None) is _HASH


class _Given(NamedTuple):
    """One argument: an array of any contents, or the very Module.

    Args:
        spec: Shape and type of an Array or ndarray; None: a Module.
        module: A reference to the Module.
    """

    spec: tuple[tuple[int, ...], Any] | None
    module: Callable[[], Any] | None = None

    def fits(self, x: Any) -> bool:
        """True if an argument is like this one."""
        if self.module is not None:
            return self.module() is x
        if type(x) is Array:
            if x.weak or x.node.owned or x.node.traced:
                return False
        elif type(x) is not np.ndarray:
            return False
        return (x.shape, x.dtype) == self.spec


class Shortcut:
    """The way from such arguments to their Program's results.

    Args:
        arguments: Of a call.
        call: The same, taken apart.
        program: What it ran: compiled, and without state to write.
        forget: Called when a Module among the arguments is gone.

    Raises:
        Unwatchable: There is none.
    """

    def __init__(
        self,
        arguments: Sequence[Any],
        call: Call,
        program: Program,
        forget: Callable[[Shortcut], None],
    ) -> None:
        positions = {leaf.path: n for leaf, n in zip(call.leaves, call.slot_of, strict=True)}
        uses = [call.slot_of.count(n) for n in range(len(call.slots))]
        self.program = program
        self.given: list[_Given] = []
        self.watches: list[Watch] = []
        self.places: list[tuple[int, int]] = []  # position of an argument, and its slot

        this = weakref.ref(self)

        def gone(_: object) -> None:
            shortcut = this()
            if shortcut is not None:
                forget(shortcut)

        for number, x in enumerate(arguments):
            if type(x) in (Array, np.ndarray):
                slot = positions[str(number)]
                # the keys of the ambient random state, with which it might be tied
                if uses[slot] > 1 or x.dtype == np.uint32:
                    raise Unwatchable
                self.given.append(_Given((x.shape, x.dtype)))
                if not self.given[-1].fits(x):
                    raise Unwatchable
                self.places.append((number, slot))
            elif hasattr(x, "__tree_watch__"):
                self.watches.append(Watch(x))
                self.given.append(_Given(None, weakref.ref(x, gone)))
            else:
                raise Unwatchable
        from chainrule.program.compiler.native import BoundProgram

        if any(kind != "output" for kind, _ in program.native.code.machine.results):
            raise Unwatchable  # a result may be an argument, which the caller may write to
        self.bound = BoundProgram(program.native, call.values(), [n for _, n in self.places])

    def run(self, arguments: Sequence[Any]) -> list[np.ndarray] | None:
        """What the Program gives; None if the arguments are others.

        Raises:
            IndexRangeError: An index in the data is outside its axis.
        """
        if len(arguments) != len(self.given):
            return None
        for given, x in zip(self.given, arguments, strict=True):
            if not given.fits(x):
                return None
        for watch in self.watches:
            if not watch.is_same():
                return None
        arrays = [arguments[n] for n, _ in self.places]
        if len(arrays) > 1:
            nodes = {id(x.node) if isinstance(x, Array) else id(x) for x in arrays}
            if len(nodes) < len(arrays):
                return None  # one array in two places may be one slot
        return self.bound.run([x.buffer.data if isinstance(x, Array) else x for x in arrays])

    def results(self, values: Sequence[np.ndarray]) -> Any:
        """As the function returned them."""
        return unflatten(self.program.structure, [leaf(value) for value in values])


def make_shortcut(
    arguments: Sequence[Any],
    call: Call,
    program: Program,
    forget: Callable[[Shortcut], None],
) -> Shortcut | None:
    """A shortcut for calls like this one; None if there can be none."""
    if program.engine != "compiler" or program.writes:
        return None
    if any(hasattr(x, "__prepare__") or hasattr(x, "__step_scalars__") for x in arguments):
        return None
    try:
        return Shortcut(arguments, call, program, forget)
    except Unwatchable:
        return None
