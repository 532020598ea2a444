"""Layouts: where a tensor's elements lie in memory, when the compiler may choose.

Reason: what decides the speed of a matrix product is where its operands lie (no row stride that is
a multiple of the cache's sets; weights in panels as wide as a register tile), and weights stay
while steps run. The user sees the plain shape: state is packed when native steps start and
unpacked after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chainrule.program.compiler.contractions import Contraction
from chainrule.program.compiler.fusion import Fusion
from chainrule.program.compiler.indices import Index, ravel
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.products.planning import LONG_SUM, preferred_panel
from chainrule.program.compiler.target import Target

COLLISION = 1024  # bytes: rows at multiples of this meet in few sets of the first-level cache
LONG_COLLISION = 512  # the same where a product goes down hundreds of rows, a vector of each
PADDING = 64  # bytes put behind such rows
LEAST_ELEMENTS = 1024  # smaller weights stay in the cache however they lie


@dataclass(frozen=True)
class Layout:
    """Row-major, each row of the last axis followed by ``padding`` elements that nobody uses.

    Args:
        shape: The tensor's shape.
        padding: Elements behind each row.
    """

    shape: tuple[int, ...]
    padding: int = 0

    @property
    def size(self) -> int:
        """Elements of memory."""
        if not self.shape:
            return 1
        return math.prod(self.shape[:-1]) * (self.shape[-1] + self.padding)

    def offset(self, indices: tuple[Index, ...]) -> Index:
        """Number of the element in memory."""
        if not indices or not self.padding:
            return ravel(indices, self.shape)
        return ravel(indices, (*self.shape[:-1], self.shape[-1] + self.padding))


@dataclass(frozen=True)
class Panels(Layout):
    """A matrix cut into panels of ``width`` along ``axis``: ``[panels][other axis][width]``.

    Args:
        axis: The axis that is cut, 0 or 1.
        width: Elements of a panel along it; the last panel is filled up.
    """

    axis: int = 0
    width: int = 16

    @property
    def size(self) -> int:
        """Elements of memory."""
        return -(-self.shape[self.axis] // self.width) * self.width * self.shape[1 - self.axis]

    def offset(self, indices: tuple[Index, ...]) -> Index:
        """Number of the element in memory."""
        cut, other = indices[self.axis], indices[1 - self.axis]
        panel = self.shape[1 - self.axis] * self.width
        return (cut // self.width) * panel + other * self.width + cut % self.width


def padded(tensor: Tensor, collision: int = COLLISION) -> Layout | None:
    """A layout whose rows do not collide in the cache; None where plain rows do not either.

    Args:
        tensor: Its last axis are the rows.
        collision: Bytes; rows at multiples of it collide.
    """
    if len(tensor.shape) < 2 or tensor.shape[-2] < 8:
        return None
    row = tensor.shape[-1] * tensor.dtype.itemsize
    if row and row % 64 and tensor.shape[-1] >= 24:
        rounded = -(-row // 64) * 64
        rounded += 0 if rounded % collision else 64
        return Layout(tensor.shape, (rounded - row) // tensor.dtype.itemsize)
    if row == 0 or row % collision:
        return None
    return Layout(tensor.shape, PADDING // tensor.dtype.itemsize)


def operand_layouts(x: Contraction) -> dict[Tensor, Layout]:
    """Layouts for a product's operands whose rows collide.

    Of a long sum the wider operand is the one that is read down its rows; the other is packed.
    """
    wide, high = x.column.extent, x.row.extent
    found = {}
    for tensor, own, other in ((x.a.tensor, high, wide), (x.b.tensor, wide, high)):
        is_long = x.depth.extent >= LONG_SUM and own >= other
        layout = padded(tensor, LONG_COLLISION if is_long else COLLISION)
        if layout is not None:
            found[tensor] = layout
    return found


def state_layouts(
    contractions: Iterable[Contraction],
    fusion: Fusion,
    in_place: Mapping[Tensor, Tensor],
    resident: set[Tensor],
    target: Target,
) -> dict[Tensor, Layout]:
    """Panels for weights that products read across, and for what is updated beside them.

    Args:
        contractions: The products of the block.
        fusion: Its groups.
        in_place: Result → state that it overwrites.
        resident: Inputs that stay the same from step to step, or are overwritten in place.
        target: The processor.
    """
    found: dict[Tensor, Layout] = {}
    for x in _wider_first(list(contractions), fusion, in_place):
        weight = x.b.tensor
        if weight in found or weight not in resident or len(weight.shape) != 2:
            continue
        axis = _column_axis(x)
        if axis is None or weight.size < LEAST_ELEMENTS or x.row.extent < 8:
            continue
        panel = preferred_panel(target, "float" if weight.dtype.itemsize == 4 else "double")
        if x.column.extent >= 2 * panel:
            found[weight] = Panels(weight.shape, 0, axis, panel)
    for weight, layout in list(found.items()):
        group = next((fusion.group_of[n] for n, old in in_place.items() if old is weight), None)
        for other, old in in_place.items():
            if fusion.group_of[other] is group and old.shape == weight.shape:
                found.setdefault(old, layout)
    return found


def _wider_first(
    contractions: list[Contraction], fusion: Fusion, in_place: Mapping[Tensor, Tensor]
) -> list[Contraction]:
    """The products, those first whose weight's gradient had better be taken across their columns.

    A gradient summed over many rows packs its operand that stands along the weight's other axis:
    the longer axis in panels, that is the shorter operand. What another product of the weight then
    has to pack is the weight, which is small beside it.
    """
    summed = {x.instruction for x in contractions if x.depth.extent >= LONG_SUM}
    founders = {old: fusion.group_of[new].members[0] for new, old in in_place.items()}

    def is_better(x: Contraction) -> bool:
        weight, axis = x.b.tensor, _column_axis(x)
        if axis is None or len(weight.shape) != 2 or founders.get(weight) not in summed:
            return False
        return weight.shape[axis] >= 2 * weight.shape[1 - axis]

    return sorted(contractions, key=is_better, reverse=True)


def _column_axis(x: Contraction) -> int | None:
    """The axis of a weight matrix that counts a product's columns."""
    for axis, index in enumerate(x.b.indices):
        if index.as_axis() is x.column:
            return axis
    return None
