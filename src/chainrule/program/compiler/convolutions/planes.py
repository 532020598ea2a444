"""How the images of one task lie in its buffer: planes with zeros around them.

``[channel][plane][image][row ...][column]``, where the zeros behind a row are those in front of the
next one, so that few places are neither an output nor wanted by one.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Geometry, Tap

LINE = 16  # elements that channels are kept off multiples of the cache's sets by


@dataclass(frozen=True)
class Planes:
    """The buffer of a block of images, or of a band of rows of one image.

    Args:
        geometry: The convolution.
        images: Images in the block.
        band: Outputs (of the largest phase) along the first axis.
        lanes: Elements of a vector.
    """

    geometry: Geometry
    images: int
    band: int
    lanes: int

    @property
    def is_banded(self) -> bool:
        """True if an image is cut into bands of rows."""
        return self.band < self.geometry.lines[0].count

    def count(self, axis: int) -> int:
        """Outputs of a phase along an axis, within a band."""
        return self.band if axis == 0 else self.geometry.lines[axis].count

    def length(self, axis: int) -> int:
        """Elements of a plane along an axis."""
        low, high = self.geometry.lines[axis].shifts
        return self.count(axis) + high - low

    def inside(self, axis: int, plane: int) -> tuple[int, int]:
        """First element of a plane that is of the input, and the one after the last."""
        line = self.geometry.lines[axis]
        low = line.shifts[0]
        first = max(0, -low)
        return first, max(first, min(self.length(axis), line.in_plane(plane) - low))

    def _shared(self, axis: int) -> int:
        """Zeros at the end of every plane that may be those at the beginning of what follows."""
        if axis == 0 and self.is_banded:
            return 0
        length = self.length(axis)
        ends = [self.inside(axis, plane) for plane in self.geometry.lines[axis].planes]
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
        return math.prod(len(line.planes) for line in self.geometry.lines)

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

    def plane_numbers(self) -> list[tuple[int, ...]]:
        """The planes in order, one number an axis."""
        return list(itertools.product(*(line.planes for line in self.geometry.lines)))

    def tap_offset(self, axis: int, tap: Tap) -> int:
        """Where a tap along one axis reads, from where the output's number is."""
        line = self.geometry.lines[axis]
        inner = math.prod(len(other.planes) for other in self.geometry.lines[axis + 1 :])
        number = line.planes.index(tap.plane)
        return number * inner * self.plane + (tap.shift - line.shifts[0]) * self.strides[axis + 1]

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
