"""Expressions of elements: loads where a tensor is in memory, computed on the spot elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.program.compiler.expressions import Constant, Expression, Load, both
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS, Indices

Leaf = Callable[[Tensor, Indices, "Expression | None"], "Expression | None"]


class Reader:
    """Gives the expression of an element (see ``lowering.elements.Read``).

    Args:
        is_leaf: True for tensors that are in memory.
        leaf: Overrides how an element of a leaf is read; None, or a None from it: a ``Load``.
        guard: Condition under which the places that are read exist.
    """

    def __init__(
        self,
        is_leaf: Callable[[Tensor], bool],
        leaf: Leaf | None = None,
        guard: Expression | None = None,
    ) -> None:
        self._is_leaf = is_leaf
        self._leaf = leaf
        self.guard = guard
        self._known: dict[tuple[Tensor, Indices], Expression] = {}

    def __call__(self, tensor: Tensor, indices: Indices) -> Expression:
        """The element of ``tensor`` at ``indices``."""
        key = (tensor, indices)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._read(tensor, indices)
        return found

    def _read(self, tensor: Tensor, indices: Indices) -> Expression:
        if tensor.constant is not None and tensor.constant.size == 1:
            return Constant(tensor.constant.reshape(()), tensor.dtype)
        if self._is_leaf(tensor):
            own = self._leaf(tensor, indices, self.guard) if self._leaf else None
            return own or Load(tensor, indices, self.guard)
        producer = tensor.producer
        assert producer is not None
        lower = ELEMENTS[producer.op.name]
        return lower(producer, producer.results.index(tensor), indices, self)

    def where(self, condition: Expression) -> Reader:
        """The same, for elements that exist only where the condition holds."""
        return Reader(self._is_leaf, self._leaf, both(self.guard, condition))
