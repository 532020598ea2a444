"""What a compiled function is called with: slots, ties, and the signature that picks a Program."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.array import Array
from chainrule.graph import Buffer
from chainrule.ops.dtypes import Dtype, as_dtype
from chainrule.ops.record import Shape
from chainrule.tree import Leaf, Structure, flatten


class Slot(NamedTuple):
    """One input of a Program: a leaf of the arguments, or several that are tied.

    Args:
        path: Where it lies in the arguments, ``"0.encoder.weight"``.
        shape: Shape.
        dtype: Element type; a Python float travels as float64.
        weak: A traced scalar, which takes the dtype of what it meets.
    """

    path: str
    shape: Shape
    dtype: Dtype
    weak: bool


class Call(NamedTuple):
    """The arguments of one call, taken apart.

    Args:
        leaves: Every leaf, in order.
        slot_of: For each leaf, the number of its slot; tied leaves share one.
        slots: The distinct inputs.
        signature: Equal signatures run the same Program.
    """

    leaves: list[Leaf]
    slot_of: list[int]
    slots: list[Slot]
    signature: Hashable

    def values(self) -> list[np.ndarray]:
        """The data of each slot."""
        return [x.data if isinstance(x, Buffer) else x for x in self.buffers()]

    def buffers(self) -> list[np.ndarray | Buffer]:
        """What holds the data of each slot, in whatever order it lies there."""
        found: list[Any] = [None] * len(self.slots)
        for leaf, number in zip(self.leaves, self.slot_of, strict=True):
            if found[number] is None:
                found[number] = leaf_buffer(leaf.value)
        return found


def leaf_buffer(value: Any) -> np.ndarray | Buffer:
    """What holds the data of a leaf, without a copy."""
    if isinstance(value, Array):
        return value.buffer
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value)


def take_apart(arguments: Sequence[Any]) -> Call:
    """Flatten arguments into slots and compute their signature."""
    leaves, structure = flatten(tuple(arguments))
    numbers: dict[Any, int] = {}
    slots: list[Slot] = []
    slot_of: list[int] = []
    for leaf in leaves:
        value = leaf.value
        # two places that hold one node are tied: they are one slot and stay one
        key = (value.node, value.index) if isinstance(value, Array) else ("own", len(slot_of))
        if key not in numbers:
            numbers[key] = len(slots)
            slots.append(_slot(leaf))
        slot_of.append(numbers[key])
    return Call(leaves, slot_of, slots, _signature(structure, slots, slot_of))


def _slot(leaf: Leaf) -> Slot:
    value = leaf.value
    if isinstance(value, Array):
        return Slot(leaf.path, value.shape, value.dtype, value.weak)
    if isinstance(value, np.ndarray | np.generic):
        return Slot(leaf.path, value.shape, as_dtype(value.dtype), False)
    return Slot(leaf.path, (), np.dtype(np.float64), True)


def _signature(structure: Structure, slots: list[Slot], slot_of: list[int]) -> Hashable:
    return structure, tuple((s.shape, s.dtype, s.weak) for s in slots), tuple(slot_of)


def user_slots(slots: Sequence[Slot]) -> list[Slot]:
    """The slots without those of the last argument, the ambient random state."""
    last = slots[-1].path.partition(".")[0]
    return [slot for slot in slots if slot.path.partition(".")[0] != last]


def describe(call: Call) -> str:
    """The last slots in one line: ``0.weight float32[10, 784], 1 float32[32, 784]``."""
    shown = [f"{s.path} {s.dtype}{list(s.shape)}" for s in user_slots(call.slots) if s.shape]
    return ", ".join(shown[-4:])
