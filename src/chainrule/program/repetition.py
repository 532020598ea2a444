"""Calls of ``run_steps`` with the state of the call before, which nobody else has changed.

Taking a model and its optimizer apart, and finding the optimizer's state for each parameter, takes
some milliseconds: a fifth of a step of a small Transformer. ``Repetitions`` remember what calls
found out; where the Modules and optimizers still hold what the last one left in them, the next asks
for new values only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import random
from chainrule.array import Array
from chainrule.program.exclusive import one_thread
from chainrule.program.places import fits
from chainrule.program.program import Program
from chainrule.program.signature import Call
from chainrule.program.watch import Unwatchable, Watch
from chainrule.tree import Leaf, Structure, children, flatten, is_container

MOST_KEPT = 4  # states that one function trains in turn
PATIENCE = 16  # calls that went the long way until watching is tried more seldom


class Known(NamedTuple):
    """A Program that some state was run through.

    Args:
        call: The arguments, taken apart; in place of a watched Array is its number, in place of
            what each call brings anew is None, in place of an argument that holds a leaf its
            number: they are not kept alive.
        program: The Program.
        batch_slots: Slots that are gathered from data.
        scalars: Number of an argument, and the name of what it gives a number for → the slot.
        ambient: How the ambient random state was made up.
    """

    call: Call
    program: Program
    batch_slots: list[int]
    scalars: dict[tuple[int, Any], int]
    ambient: Structure


class Found(NamedTuple):
    """What a call would have found out the long way.

    Args:
        repetition: Who knows it.
        known: What it knows.
        call: The arguments, taken apart.
        vectors: Slot → its value at every step.
    """

    repetition: Repetition
    known: Known
    call: Call
    vectors: dict[int, np.ndarray]


class Repetition:
    """Modules and optimizers that are trained, and the Programs, one for each shape of batches.

    Args:
        state: The Modules and optimizers.
        forget: Called when one of them is gone.

    Raises:
        Unwatchable: One of them may change unseen.
    """

    def __init__(self, state: Sequence[Any], forget: Callable[[Repetition], None]) -> None:
        this = weakref.ref(self)

        def gone(_: object) -> None:
            repetition = this()
            if repetition is not None:
                forget(repetition)

        if not all(hasattr(x, "__tree_watch__") for x in state) or _is_active_inside(state):
            raise Unwatchable
        try:
            self._roots = [weakref.ref(x, gone) for x in state]
        except TypeError:  # of a class with __slots__
            raise Unwatchable from None
        self._watch = Watch(state)
        self._known: list[Known] = []

    def is_of(self, state: Sequence[Any]) -> bool:
        """True if it is about these very objects."""
        pairs = zip(self._roots, state, strict=True)
        return len(state) == len(self._roots) and all(root() is x for root, x in pairs)

    @property
    def is_current(self) -> bool:
        """True if nobody has changed anything since it last looked."""
        return self._watch.now() is not None

    def add(self, state: Sequence[Any], call: Call, program: Program, batch: list[int]) -> Known:
        """Remember a Program that is about to run.

        Raises:
            Unwatchable: Some value is tied to, or found in, what is not watched.
        """
        now = self._watch.now()
        if now is None:
            raise Unwatchable
        numbers = {id(x): number for number, x in enumerate(now)}
        leaves = [_shown(leaf, numbers, state) for leaf in call.leaves]
        pairs = list(zip(leaves, call.slot_of, strict=True))
        if any(leaf.value is None and call.slot_of.count(slot) > 1 for leaf, slot in pairs):
            raise Unwatchable
        scalars = {}
        for number, x in enumerate(state):
            if hasattr(x, "__step_scalars__"):
                own = {leaf.key: slot for leaf, slot in pairs if leaf.owner == number}
                scalars.update({(number, name): own[name] for name in x.__step_scalars__(1)})
        ambient = flatten(random.ambient())[1]
        known = Known(call._replace(leaves=leaves), program, batch, scalars, ambient)
        self._known = [known, *self._known][:MOST_KEPT]
        return known

    def find(self, state: Sequence[Any], batch: Sequence[np.ndarray], n_steps: int) -> Found | None:
        """What is known of a call; None if it must go the long way.

        Args:
            state: The same objects, asked about by ``is_of``.
            batch: The first batch.
            n_steps: How many steps there are.
        """
        now = self._watch.now()
        if now is None:
            return None
        for known in self._known:
            call = _filled(known, now, state, batch)
            if call is None:
                continue
            given = {}
            for number in {number for number, _ in known.scalars}:
                for name, values in state[number].__step_scalars__(n_steps).items():
                    given[known.scalars[number, name]] = np.asarray(values, dtype=np.float64)
            return Found(self, known, call, given)
        return None

    def wrote(self, known: Known, fresh: Sequence[Any]) -> None:
        """New state was stored.

        Args:
            known: What ran.
            fresh: What was stored, for each of the Program's writes.
        """
        for write, value in zip(known.program.writes, fresh, strict=True):
            number = known.call.leaves[write.leaves[0]].value
            if isinstance(number, int):
                self._watch.replace(number, value)


def _shown(leaf: Leaf, numbers: dict[int, int], state: Sequence[Any]) -> Leaf:
    """A leaf without its value: see ``Known``."""
    if int(leaf.path.partition(".")[0]) >= len(state):
        return leaf._replace(value=None, owner=None)
    owner = next((number for number, x in enumerate(state) if leaf.owner is x), leaf.owner)
    if isinstance(leaf.value, Array) and id(leaf.value) in numbers and not leaf.value.weak:
        return leaf._replace(value=numbers[id(leaf.value)], owner=owner)
    if isinstance(leaf.value, float):
        return leaf._replace(owner=owner)
    raise Unwatchable


def _filled(
    known: Known, now: Sequence[Array], state: Sequence[Any], batch: Sequence[np.ndarray]
) -> Call | None:
    """The arguments taken apart; None if they are not what the Program was recorded for."""
    ambient, structure = flatten(random.ambient())
    if structure != known.ambient:
        return None
    nodes = {id(x.node) for x in now}
    fresh = iter([*(Leaf("", x, None, None) for x in batch), *ambient])
    leaves = []
    for leaf, slot in zip(known.call.leaves, known.call.slot_of, strict=True):
        _, value, owner, _ = leaf
        if value is None:
            _, value, owner, _ = next(fresh)
            if not fits(value, known.call.slots[slot]):
                return None
            if isinstance(value, Array):
                if id(value.node) in nodes:
                    return None  # tied
                nodes.add(id(value.node))
        elif isinstance(value, int):
            value = now[value]
        owner = state[owner] if isinstance(owner, int) else owner
        leaves.append(Leaf(leaf.path, value, owner, leaf.key))
    return known.call._replace(leaves=leaves)


def _is_active_inside(state: Sequence[Any]) -> bool:
    """True if anything inside of them does something before each call."""
    pending = list(state)
    while pending:
        inner = [child for _, child in children(pending.pop()) if is_container(child)]
        if any(hasattr(x, "__prepare__") or hasattr(x, "__step_scalars__") for x in inner):
            return True
        pending += inner
    return False


class Repetitions:
    """What calls of ``run_steps`` with one function found out."""

    def __init__(self) -> None:
        self._made: list[Repetition] = []
        self._in_vain = 0

    def find(self, state: Sequence[Any], batch: Sequence[np.ndarray], n_steps: int) -> Found | None:
        """See ``Repetition.find``."""
        with one_thread():
            made = self._of(state)
            found = None if made is None else made.find(state, batch, n_steps)
        if found is not None:
            self._in_vain = 0
        return found

    def add(
        self, state: Sequence[Any], call: Call, program: Program, batch_slots: list[int]
    ) -> Found | None:
        """Remember what was found the long way; None if there is no other."""
        self._in_vain += 1
        if self._in_vain > PATIENCE and self._in_vain % PATIENCE:
            return None
        with one_thread():
            made = self._of(state)
            try:
                if made is None or not made.is_current:
                    if made is not None:
                        self._forget(made)
                    made = Repetition(state, self._forget)
                    self._made = [made, *self._made][:MOST_KEPT]
                known = made.add(state, call, program, batch_slots)
            except Unwatchable:
                return None
            return Found(made, known, call, {})

    def _of(self, state: Sequence[Any]) -> Repetition | None:
        return next((x for x in self._made if x.is_of(state)), None)

    def _forget(self, repetition: Repetition) -> None:
        self._made = [x for x in self._made if x is not repetition]
