"""``Parameter``: an Array that training changes; drawn when its value is first needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array, leaf
from chainrule.errors import DtypeError
from chainrule.execution import evaluate
from chainrule.graph import Buffer, Node
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class DeferredLeaf(Node):
    """A leaf whose value is computed when somebody first asks for it.

    To every walk, trace and engine it is a leaf like any other: without operands and, once
    looked at, with a value. So a layer can be built, printed and counted without its weights.

    Args:
        recipe: The Array that gives the value; it descends from no variable and from no trace.
        tracked: As for ``Node``.
        name: As for ``Node``.
    """

    __slots__ = ("_recipe", "_values")

    def __init__(self, recipe: Array, *, tracked: bool, name: str = "") -> None:
        self._recipe: Array | None = recipe
        self._values: tuple[Buffer, ...] | None = None
        super().__init__(
            None, (), {}, ((recipe.shape, recipe.dtype),), tracked=tracked, name=name, owned=True
        )

    @property
    def values(self) -> tuple[Buffer, ...] | None:
        """The value, computed at the first call."""
        if self._values is None and self._recipe is not None:
            recipe = self._recipe
            evaluate([recipe])
            assert recipe.node.values is not None
            self._values = (recipe.node.values[recipe.index],)
            self._recipe = None
        return self._values

    @values.setter
    def values(self, new: tuple[Buffer, ...] | None) -> None:
        self._values = new

    @property
    def is_drawn(self) -> bool:
        """True once the value has been computed."""
        return self._values is not None

    def duplicate(self, tracked: bool, name: str) -> DeferredLeaf:
        """A leaf of the same value, not tied to this one; computes nothing."""
        assert self._recipe is not None
        return DeferredLeaf(self._recipe, tracked=tracked, name=name)


class Parameter(Array):
    """An Array that an optimizer changes; assigned to a Module's attribute, it is registered there.

    A freshly drawn value (from ``nn.init`` or ``cr.random``) is not computed before somebody looks
    at it or the first batch arrives, so a layer costs no memory until it is used.

    Args:
        value: Floating Array, NumPy array or numbers; Python integers become float32.
        trainable: False: the parameter gets no gradient until ``unfreeze()``.

    Raises:
        DtypeError: The value holds integers, which have no derivative.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self) -> None:
    ...         self.factor = nn.Parameter(cr.asarray([2.0]))
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> dict(Scale().named_parameters())
    {'factor': Array([2.], float32, name='factor')}
    """

    __slots__ = ("trainable",)

    def __init__(self, value: Any, trainable: bool = True) -> None:
        array = ops.as_value(value)
        if array.dtype == dtypes.int64 and not isinstance(value, Array | np.ndarray | np.generic):
            array = ops.astype(array, dtypes.default_float)
        if not dtypes.is_floating(array.dtype):
            raise DtypeError(
                f"a parameter of {array.dtype} can not be trained: it has no derivative",
                expected="a floating type",
                got=f"{array.dtype} of shape {array.shape}",
                fix="cr.astype(value, cr.float32); what training leaves alone is a buffer: assign "
                "the plain Array",
                where=str(here()),
            )
        stored = _as_leaf(array)
        super().__init__(stored.node, stored.index)
        self.trainable = trainable


def _as_leaf(array: Array) -> Array:
    """A leaf of its own for a parameter's value, deferred where that is possible."""
    node = array.node
    if node.op is not None and node.values is None and not node.tracked and array.is_concrete:
        return Array(DeferredLeaf(array, tracked=True))
    return own_leaf(array, tracked=True)


def own_leaf(x: Array, *, tracked: bool, name: str = "") -> Array:
    """A leaf with the value of ``x`` that is tied to nothing; traced Arrays pass unchanged.

    The buffer is shared, and a value that was not computed yet stays so.
    """
    if isinstance(x.node, DeferredLeaf) and not x.node.is_drawn:
        return Array(x.node.duplicate(tracked, name))
    if not x.is_concrete:
        return x
    made = leaf(x.data, tracked=tracked, name=name, owned=True)
    assert x.node.values is not None
    made.node.values = (x.node.values[x.index],)
    return made


def is_deferred(x: Array) -> bool:
    """True for a parameter whose value was not computed yet."""
    return isinstance(x.node, DeferredLeaf) and not x.node.is_drawn
