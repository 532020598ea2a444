"""``RandomState`` and the ambient one, from which layers take their keys."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.array import Array, leaf
from chainrule.ops.origin import current_layer
from chainrule.random.keys import fold_in, seed_words


class RandomState:
    """A key and a step counter: where Dropout, shuffling and initialisers get their keys.

    The key of a draw is ``fold_in(fold_in(key, step), crc32(path + "#" + number))``: ``path`` is
    the layer's, ``number`` counts the draws of this path within the step. So a layer's draw does
    not depend on which other layers draw.

    Outside Programs every draw is a step of its own. A Program is one step: its tracer calls
    ``begin`` before and ``finish`` after the traced function.

    Args:
        seed: As for ``key``.

    >>> state = RandomState(7)
    >>> state.draw_key().tolist() == state.draw_key().tolist()
    False
    """

    def __init__(self, seed: int = 0) -> None:
        self._counts: dict[str, int] = {}
        self._one_step: Array | None = None
        self.key: Array
        self.step: Array
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start again from ``seed`` at step 0."""
        self.key = leaf(seed_words(seed), owned=True, name="random key")
        self.step = _step_leaf(0)
        self._one_step = None

    def draw_key(self, name: str = "") -> Array:
        """The key of the next draw.

        Args:
            name: Tells several draws of one layer apart; appended to the layer's path.

        Returns:
            uint32, shape (2,).
        """
        layer = current_layer()
        path = f"{layer}.{name}" if layer and name else layer or name
        number = 0
        step = self.step
        # inside begin .. finish the step rests; an error in between puts another Array there
        if step is self._one_step:
            number = self._counts.get(path, 0)
            self._counts[path] = number + 1
        else:
            self._advance()
        return fold_in(fold_in(self.key, step), zlib.crc32(f"{path}#{number}".encode()))

    def _advance(self) -> None:
        if self.step.is_concrete:
            self.step = _step_leaf(int(self.step.data) + 1)
        else:
            self.step = self.step + 1

    def begin(self) -> None:
        """Start a trace: until ``finish``, draws belong to one step and are numbered by path."""
        self._one_step = self.step
        self._counts = {}

    def finish(self) -> None:
        """End the trace that ``begin`` started: advance the step by one if anything was drawn."""
        drawn = bool(self._counts) and self.step is self._one_step
        self._one_step = None
        self._counts = {}
        if drawn:
            self._advance()

    def __tree_children__(self) -> list[tuple[str, Any]]:
        return [("key", self.key), ("step", self.step)]

    def __tree_assign__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __tree_static__(self) -> None:
        return None

    def __repr__(self) -> str:
        if not self.step.is_concrete:
            return "RandomState(traced)"
        low, high = (int(word) for word in self.key.data)
        return f"RandomState({high << 32 | low}, step={int(self.step.data)})"


def _step_leaf(step: int) -> Array:
    return leaf(np.asarray(step & 0xFFFFFFFF, dtype=np.uint32), owned=True, name="random step")


class _Ambient(threading.local):
    """This thread's states in use; below them lies the one that all threads share."""

    def __init__(self) -> None:
        self.stack: list[RandomState] = []


_shared = RandomState(0)
_ambient = _Ambient()


def ambient() -> RandomState:
    """The RandomState in use: the innermost of ``use``, else the one of the whole process."""
    return _ambient.stack[-1] if _ambient.stack else _shared


def seed(n: int) -> None:
    """Set the ambient state to seed ``n`` and step 0; without this call the seed is 0.

    >>> seed(1); a = layer_key(); seed(1); b = layer_key()
    >>> a.tolist() == b.tolist()
    True
    """
    ambient().reseed(n)


@contextmanager
def use(state: RandomState) -> Iterator[RandomState]:
    """Make ``state`` the ambient one of this thread inside a ``with`` block.

    >>> with use(RandomState(5)) as state:
    ...     dropout_key = layer_key()
    >>> state
    RandomState(5, step=1)
    """
    _ambient.stack.append(state)
    try:
        yield state
    finally:
        _ambient.stack.pop()


def layer_key(name: str = "") -> Array:
    """The key of the next ambient draw, by the path of the layer at work; see ``RandomState``.

    Args:
        name: Tells several draws of one layer apart.
    """
    return ambient().draw_key(name)
