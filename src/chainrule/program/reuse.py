"""Calls that are like an earlier one: the same Module, unchanged, and arrays of the same kind.

Taking a model apart costs far more than a small network takes to run. A ``Shortcut`` remembers what
a call found out, and what it depended on; if all of that is still so, the next call goes
straight to the machine code. What a Program writes is written as by a first call; the state that
it finds next time is then known to be what it left.

It serves Modules and optimizers among the arguments (containers that say by ``__tree_watch__``
which dict decides about them), which are watched; dicts, lists and tuples of Arrays, which are
taken apart each time; Arrays, ndarrays and floats; and what never changes.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from chainrule import random
from chainrule.array import Array, leaf
from chainrule.graph import Buffer, needed_inputs, value_node
from chainrule.ops.origin import here
from chainrule.program.exclusive import one_thread
from chainrule.program.places import Place, fits, read_places
from chainrule.program.program import Program
from chainrule.program.signature import Call
from chainrule.program.watch import Unwatchable, Watch
from chainrule.tree import Leaf, Structure, children, flatten, is_container, put_in, unflatten

_FIXED = int, bool, str, bytes, type(None)
_PLAIN = dict, list, tuple
_AMBIENT = -1


class _Watched(NamedTuple):
    """A Module or optimizer.

    Args:
        number: Which argument.
        root: A reference to it.
        scalars: Name of what it gives a number for at each step → the slot.
    """

    number: int
    root: Callable[[], Any]
    scalars: dict[Any, int]


class _Tree(NamedTuple):
    """A container that is taken apart at each call.

    Args:
        number: Which argument; ``_AMBIENT`` is the ambient random state.
        structure: What is left of it without its leaves.
        slots: For each leaf, its slot's number.
    """

    number: int
    structure: Structure
    slots: list[int]


class _Write(NamedTuple):
    """State that is written.

    Args:
        output: Number of the Program's output.
        number: Of the Array that is watched; None: it is a leaf of a tree.
        slot: The input that holds it.
        places: Argument number, or −1; the container, or None where it is that argument; the key.
        marks: What ``leaf`` is told of the Array that is stored.
    """

    output: int
    number: int | None
    slot: int
    places: list[tuple[int, Any, Any]]
    marks: dict[str, Any]


def _data_of(x: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray | None:
    """The numbers of an argument; None if it is no array that was expected."""
    if type(x) is Array:
        if x.weak or x.node.owned or x.node.traced:
            return None
        x = x.data
    elif type(x) is not np.ndarray:
        return None
    found: np.ndarray = x
    fits = found.shape == shape and (found.dtype is dtype or found.dtype == dtype)
    return found if fits else None


class Shortcut:
    """The way from such arguments to their Program's results.

    Args:
        arguments: Of a call.
        call: The same, taken apart.
        program: What it is to run, compiled.
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
        self.program = program
        self._n_arguments = len(arguments)
        self._slots = call.slots
        self._specs = [x.node.specs[x.index] for x in program.graph.outputs[: program.n_outputs]]
        self._uses = [call.slot_of.count(n) for n in range(len(call.slots))]
        self._needed = needed_inputs(program.graph.outputs, program.graph.inputs)
        self._arrays: list[tuple[int, tuple[int, ...], Any]] = []
        self._floats: list[int] = []
        self._fixed: list[tuple[int, Any]] = []
        self._watched: list[_Watched] = []
        self._trees: list[_Tree] = []
        leaves = self._by_argument(call)
        for number, x in enumerate(arguments):
            self._sort(number, x, leaves[number], forget)
        self._take_tree(_AMBIENT, random.ambient(), leaves[len(arguments)])
        self._watch = Watch([arguments[x.number] for x in self._watched])
        self._writes = [self._write(number, call) for number in range(len(program.writes))]
        self._bind(call, leaves)
        self._lock = threading.Lock()
        self._is_torn = False
        self._is_leaf = program.structure == flatten(0.0)[1]
        #: gives the result itself, if there is such a way; None if the arguments are others
        self.answer = self._in_short()

    @staticmethod
    def _by_argument(call: Call) -> dict[int, list[tuple[Leaf, int]]]:
        found: dict[int, list[tuple[Leaf, int]]] = {
            n: [] for n in range(int(call.leaves[-1].path.partition(".")[0]) + 1)
        }
        for x, slot in zip(call.leaves, call.slot_of, strict=True):
            found[int(x.path.partition(".")[0])].append((x, slot))
        return found

    def _sort(
        self,
        number: int,
        x: Any,
        leaves: Sequence[tuple[Leaf, int]],
        forget: Callable[[Shortcut], None],
    ) -> None:
        """Note how one argument is to be looked at."""
        if type(x) in (Array, np.ndarray):
            # the keys of the ambient random state, with which it might be tied
            if self._uses[leaves[0][1]] > 1 or x.dtype == np.uint32:
                raise Unwatchable
            self._arrays.append((number, x.shape, x.dtype))
        elif type(x) is float:
            self._floats.append(number)
        elif type(x) in _FIXED:
            self._fixed.append((number, x))
        elif hasattr(x, "__tree_watch__"):
            self._watched.append(self._watching(number, x, leaves, forget))
        elif type(x) in _PLAIN:
            if any(map(_is_active, _inside(x))):
                raise Unwatchable
            self._take_tree(number, x, leaves)
        else:
            raise Unwatchable

    def _watching(
        self,
        number: int,
        x: Any,
        leaves: Sequence[tuple[Leaf, int]],
        forget: Callable[[Shortcut], None],
    ) -> _Watched:
        if any(map(_is_active, _inside(x))):
            raise Unwatchable
        this = weakref.ref(self)

        def gone(_: object) -> None:
            shortcut = this()
            if shortcut is not None:
                forget(shortcut)

        scalars = {}
        if hasattr(x, "__step_scalars__"):
            own = {leaf.key: slot for leaf, slot in leaves if leaf.owner is x}
            scalars = {name: own[name] for name in x.__step_scalars__(1)}
        try:
            return _Watched(number, weakref.ref(x, gone), scalars)
        except TypeError:  # of a class with __slots__
            raise Unwatchable from None

    def _take_tree(self, number: int, x: Any, leaves: Sequence[tuple[Leaf, int]]) -> None:
        slots = [slot for _, slot in leaves]
        if number == _AMBIENT and not self._needed.intersection(slots):
            return
        if any(self._uses[slot] > 1 for slot in slots):
            raise Unwatchable
        self._trees.append(_Tree(number, flatten(x)[1], slots))

    def _write(self, number: int, call: Call) -> _Write:
        """How one piece of state is written."""
        write = self.program.writes[number]
        held = [call.leaves[position] for position in write.leaves]
        first = held[0].value
        output = self.program.n_outputs + number
        slots = chain.from_iterable(tree.slots for tree in self._trees)
        if not isinstance(first, Array) or first.weak:
            raise Unwatchable
        if write.slot in slots:
            return _Write(output, None, write.slot, [], {})
        watched = self._watch.numbers.get(id(first))
        if watched is None or self._watch.uses[watched] != len(held):
            raise Unwatchable
        places = []
        for x in held:
            root = next((w.number for w in self._watched if w.root() is x.owner), -1)
            places.append((root, None if root >= 0 else x.owner, x.key))
        return _Write(output, watched, write.slot, places, _marks(first))

    def _bind(self, call: Call, leaves: dict[int, list[tuple[Leaf, int]]]) -> None:
        """Bind what stays; list the slots that are filled at each call."""
        from chainrule.program.compiler.native import BoundProgram

        native = self.program.native
        if any(kind != "output" for kind, _ in native.code.machine.results):
            raise Unwatchable  # a result may be an argument, which the caller may write to
        for watched in self._watched:
            for x, slot in leaves[watched.number]:
                if not isinstance(x.value, (Array, float)):
                    raise Unwatchable
                if isinstance(x.value, Array) and id(x.value) not in self._watch.numbers:
                    raise Unwatchable
                if self._slots[slot].weak != isinstance(x.value, float):
                    raise Unwatchable
        scalars = [leaves[number][0][1] for number in self._floats]
        scalars += [slot for watched in self._watched for slot in watched.scalars.values()]
        arrays = [leaves[number][0][1] for number, _, _ in self._arrays]
        for tree in self._trees:
            scalars += [slot for slot in tree.slots if self._slots[slot].weak]
            arrays += [slot for slot in tree.slots if not self._slots[slot].weak]
        self._bound = BoundProgram(native, call.values(), arrays, scalars)
        self._carried = [(w.output, w.slot) for w in self._writes if w.number is not None]

    def _in_short(self) -> Callable[[Sequence[Any]], Array | None] | None:
        """The whole way for what is called most often: a model's answer to one array."""
        run = self._bound.in_short()
        if run is None or self._writes or self._trees or self._fixed or not self._is_leaf:
            return None
        if (len(self._arrays), len(self._watched)) != (1, 1):
            return None
        ((number, shape, dtype),) = self._arrays
        ((place, root, _),) = self._watched
        references, same = self._watch.in_short()
        program, spec, n_arguments = self.program, self._specs[0], self._n_arguments

        def answer(arguments: Sequence[Any]) -> Array | None:
            if len(arguments) != n_arguments or root() is not arguments[place]:
                return None
            x = _data_of(arguments[number], shape, dtype)
            if x is None:
                return None
            held = [reference() for reference in references]  # they live as long as this
            if not same(held):
                return None
            node = value_node(spec, Buffer(run(x)), False, "", False, here(3))
            program.unused = 1
            return Array(node)

        return answer

    def run(self, arguments: Sequence[Any]) -> list[np.ndarray] | None:
        """What the Program gives, its state written; None if the arguments are others.

        Raises:
            IndexRangeError: An index in the data is outside its axis; nothing is written.
        """
        if len(arguments) != self._n_arguments:
            return None
        for watched in self._watched:
            if watched.root() is not arguments[watched.number]:
                return None
        if not self._writes:
            return self._run(arguments)
        if self._is_torn or not self._lock.acquire(blocking=False):
            return None
        try:
            return self._run(arguments)
        finally:
            self._lock.release()

    def first_run(self, arguments: Sequence[Any]) -> list[np.ndarray] | None:
        """The same for the call that it was made for, before any other knows of it."""
        return self._run(arguments)

    def _run(self, arguments: Sequence[Any]) -> list[np.ndarray] | None:
        arrays: list[np.ndarray] = []
        for number, shape, dtype in self._arrays:
            x = _data_of(arguments[number], shape, dtype)
            if x is None:
                return None
            arrays.append(x)
        if len(arrays) > 1 and self._repeats(arguments):
            return None  # one array in two places may be one slot
        for number, value in self._fixed:
            x = arguments[number]
            if type(x) is not type(value) or x != value:
                return None
        scalars: list[float] = []
        for number in self._floats:
            if type(arguments[number]) is not float:
                return None
            scalars.append(arguments[number])
        now = self._watch.now()
        if now is None:
            return None
        for watched in self._watched:
            if watched.scalars:
                found = arguments[watched.number].__step_scalars__(1)
                scalars += [float(found[name][0]) for name in watched.scalars]
        leaves = self._leaves(arguments, now, arrays, scalars) if self._trees else {}
        if leaves is None:
            return None
        outputs = self._bound.run(arrays, scalars)
        if self._writes:
            self._is_torn = True  # and stays so if storing is interrupted
            self._store(arguments, leaves, outputs)
            self._bound.carry(self._carried)
            self._is_torn = False
        return outputs[: self.program.n_outputs]

    def _repeats(self, arguments: Sequence[Any]) -> bool:
        given = [arguments[number] for number, _, _ in self._arrays]
        return len({id(x.node) if isinstance(x, Array) else id(x) for x in given}) < len(given)

    def _leaves(
        self,
        arguments: Sequence[Any],
        now: Sequence[Array],
        arrays: list[np.ndarray],
        scalars: list[float],
    ) -> dict[int, Place] | None:
        """Take trees apart, and add what they hold to ``arrays`` and ``scalars``.

        Returns:
            Slot → place; None if a tree is another one, or tied in another way.
        """
        found: dict[int, Place] = {}
        nodes = {id(x.node) for x in now}
        given = [arguments[number] for number, _, _ in self._arrays]
        nodes.update(id(x.node) for x in given if isinstance(x, Array))
        for tree in self._trees:
            x = random.ambient() if tree.number == _AMBIENT else arguments[tree.number]
            leaves: list[Place] = []
            if not read_places(x, tree.structure, None, None, leaves):
                return None
            for place, slot in zip(leaves, tree.slots, strict=True):
                value = place.value
                if not fits(value, self._slots[slot]):
                    return None
                if isinstance(value, float):
                    scalars.append(value)
                    continue
                if isinstance(value, Array):
                    if id(value.node) in nodes:
                        return None
                    nodes.add(id(value.node))
                    value = value.data
                arrays.append(value)
                found[slot] = place
        return found

    def _store(
        self, arguments: Sequence[Any], leaves: dict[int, Place], outputs: Sequence[np.ndarray]
    ) -> None:
        origin = here()
        with one_thread():
            for write in self._writes:
                value = outputs[write.output]
                if write.number is None:
                    place = leaves[write.slot]
                    fresh = leaf(value, origin=origin, **_marks(place.value))
                    put_in(place.owner, place.key, fresh)
                    continue
                fresh = leaf(value, origin=origin, **write.marks)
                for number, owner, key in write.places:
                    put_in(arguments[number] if owner is None else owner, key, fresh)
                self._watch.replace(write.number, fresh)

    def replaces(self, other: Shortcut) -> bool:
        """True if another one serves the same Program for the same Modules: it is out of date."""
        roots = [id(x.root()) for x in self._watched]
        return self.program is other.program and roots == [id(x.root()) for x in other._watched]

    def results(self, values: Sequence[np.ndarray]) -> Any:
        """As the function returned them; to be called by what the user called."""
        origin = here(3)
        specs = self._specs
        if self._is_leaf:
            return leaf(values[0], origin=origin, spec=specs[0])
        arrays = [leaf(x, origin=origin, spec=s) for x, s in zip(values, specs, strict=True)]
        return unflatten(self.program.structure, arrays)


def _marks(x: Array) -> dict[str, Any]:
    """What an Array that takes the place of this one has in common with it."""
    node = x.node
    return {
        "tracked": node.tracked and node.op is None,
        "name": node.name,
        "owned": True,
        "spec": node.specs[x.index],
    }


def _inside(x: Any) -> list[Any]:
    """All containers in a container, itself left out."""
    found: list[Any] = []
    pending = [x]
    while pending:
        inner = [child for _, child in children(pending.pop()) if is_container(child)]
        found += inner
        pending += inner
    return found


def _is_active(x: Any) -> bool:
    """True for what does something before each call."""
    return hasattr(x, "__prepare__") or hasattr(x, "__step_scalars__")


def make_shortcut(
    arguments: Sequence[Any],
    call: Call,
    program: Program,
    forget: Callable[[Shortcut], None],
) -> Shortcut | None:
    """A shortcut for calls like this one; None if there can be none."""
    if program.engine != "compiler":
        return None
    try:
        return Shortcut(arguments, call, program, forget)
    except Unwatchable:
        return None
