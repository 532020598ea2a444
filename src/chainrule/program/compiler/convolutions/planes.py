"""How the images of one task lie in its buffer: planes with zeros around them.

``[channel][plane][image][row ...][column]``, where the zeros behind a row are those in front of the
next one, so that few places are neither an output nor wanted by one. Or there is a plane for each
place of the kernel along the last axis (*gathered*): its columns are those that the outputs see,
and none between.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Geometry, Tap

Slot = tuple[int, int]  # a plane of the input along an axis, and how far behind it begins

LINE = 16  # elements that channels are kept off multiples of the cache's sets by


@dataclass(frozen=True)
class Planes:
    """The buffer of a block of images, or of a band of rows of one image.

    Args:
        geometry: The convolution.
        images: Images in the block.
        band: Outputs (of the largest phase) along the first axis.
        lanes: Elements of a vector.
        gathered: A plane for each place of the kernel along the last axis.
    """

    geometry: Geometry
    images: int
    band: int
    lanes: int
    gathered: bool = False

    @property
    def is_banded(self) -> bool:
        """True if an image is cut into bands of rows."""
        return self.band < self.geometry.lines[0].count

    def count(self, axis: int) -> int:
        """Outputs of a phase along an axis, within a band."""
        return self.band if axis == 0 else self.geometry.lines[axis].count

    def _gathers(self, axis: int) -> bool:
        return self.gathered and axis == len(self.geometry.lines) - 1

    def slots(self, axis: int) -> tuple[Slot, ...]:
        """The planes along an axis."""
        line = self.geometry.lines[axis]
        if self._gathers(axis):
            return tuple((tap.plane, tap.shift) for tap in line.taps(0))
        return tuple((plane, line.shifts[0]) for plane in line.planes)

    def length(self, axis: int) -> int:
        """Elements of a plane along an axis."""
        if self._gathers(axis):
            return self.count(axis)
        low, high = self.geometry.lines[axis].shifts
        return self.count(axis) + high - low

    def inside(self, axis: int, slot: Slot) -> tuple[int, int]:
        """First element of a plane that is of the input, and the one after the last."""
        plane, low = slot
        first = min(max(0, -low), self.length(axis))
        held = self.geometry.lines[axis].in_plane(plane)
        return first, max(first, min(self.length(axis), held - low))

    def _shared(self, axis: int) -> int:
        """Zeros at the end of every plane that may be those at the beginning of what follows."""
        if (axis == 0 and self.is_banded) or self._gathers(axis):
            return 0
        length = self.length(axis)
        ends = [self.inside(axis, slot) for slot in self.slots(axis)]
        return max(0, min((min(first, length - last) for first, last in ends), default=0))

    @functools.cached_property
    def strides(self) -> tuple[int, ...]:
        """Elements from one image to the next, one row to the next, ..., one column (1)."""
        found = [1]
        for axis in reversed(range(len(self.geometry.lines))):
            found.insert(0, found[0] * (self.length(axis) - self._shared(axis)))
        return tuple(found)

    @functools.cached_property
    def plane(self) -> int:
        """Elements of a plane, images together."""
        strides = self.strides
        last = (self.images - 1) * strides[0]
        last += sum((self.length(axis) - 1) * stride for axis, stride in enumerate(strides[1:]))
        return last + 1

    @property
    def n_planes(self) -> int:
        """Planes of a channel."""
        return math.prod(len(self.slots(axis)) for axis in range(len(self.geometry.lines)))

    @functools.cached_property
    def channel(self) -> int:
        """Elements from one channel to the next: whole vectors, in other sets of the cache."""
        size = -(-self.plane * self.n_planes // self.lanes) * self.lanes
        return size + LINE if size % 256 == 0 else size

    @property
    def size(self) -> int:
        """Elements of the buffer; vectors at the end are read whole."""
        behind = self.strides[-2] + 8 * self.lanes + LINE
        return self.geometry.channels * self.channel + behind

    def all_slots(self) -> list[tuple[Slot, ...]]:
        """The planes in order, one slot an axis."""
        return list(itertools.product(*map(self.slots, range(len(self.geometry.lines)))))

    def tap_offset(self, axis: int, tap: Tap) -> int:
        """Where a tap along one axis reads, from where the output's number is."""
        later = range(axis + 1, len(self.geometry.lines))
        inner = math.prod(len(self.slots(other)) for other in later)
        slots = self.slots(axis)
        wanted = (tap.plane, tap.shift if self._gathers(axis) else slots[0][1])
        step = (tap.shift - wanted[1]) * self.strides[axis + 1]
        return slots.index(wanted) * inner * self.plane + step

    def lead_offsets(self, phase: tuple[int, ...]) -> list[int]:
        """Where the taps of all axes but the last read, in order of the kernel's places."""
        lines = self.geometry.lines[:-1]
        parts = [
            [self.tap_offset(axis, tap) for tap in line.taps(phase[axis])]
            for axis, line in enumerate(lines)
        ]
        return [sum(each) for each in itertools.product(*parts)]

    def column_offsets(self, phase: tuple[int, ...]) -> list[int]:
        """Where the taps of the last axis read."""
        axis = len(self.geometry.lines) - 1
        line = self.geometry.lines[axis]
        return [self.tap_offset(axis, tap) for tap in line.taps(phase[axis])]
