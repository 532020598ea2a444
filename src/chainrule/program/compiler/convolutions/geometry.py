"""What a convolution is: sizes, and along each spatial axis which inputs an output sees.

Output ``o`` of an axis sees, at the kernel's place ``t``, the input ``(o * stride + t * dilation -
before) / spread`` if that is a whole number inside the input. So outputs fall into ``spread``
*phases* (``o % spread``), each with taps of its own, and inputs into ``stride`` *planes* (``input %
stride``): output ``i`` of a phase sees element ``i + shift`` of a plane, for every tap.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chainrule.program.compiler.instructions import Instruction

SUMMED = "summed"  #: attribute of a convolution whose pixels are summed where they are written


@dataclass(frozen=True)
class Tap:
    """One place of the kernel as one phase of the outputs uses it.

    Args:
        place: Its number in the kernel.
        plane: The plane of the input that it reads.
        shift: How far behind the output's number in its phase the element of the plane is.
    """

    place: int
    plane: int
    shift: int


@dataclass(frozen=True)
class Line:
    """One spatial axis.

    Args:
        source: Elements of the input.
        kernel: Places of the kernel.
        out: Elements of the output.
        stride: Inputs from one output to the next.
        before: Zeros in front of the input.
        dilation: Inputs from one place of the kernel to the next.
        spread: Places from one element of the input to the next.
    """

    source: int
    kernel: int
    out: int
    stride: int = 1
    before: int = 0
    dilation: int = 1
    spread: int = 1

    @property
    def count(self) -> int:
        """Outputs of the largest phase."""
        return -(-self.out // self.spread)

    def taps(self, phase: int) -> list[Tap]:
        """The taps of the outputs ``i * spread + phase``."""
        found = []
        for place in range(self.kernel):
            seen = phase * self.stride + place * self.dilation - self.before
            if seen % self.spread == 0:
                found.append(Tap(place, *reversed(divmod(seen // self.spread, self.stride))))
        return found

    @functools.cached_property
    def shifts(self) -> tuple[int, int]:
        """Smallest and largest shift of all taps."""
        all_of_them = [tap.shift for phase in range(self.spread) for tap in self.taps(phase)]
        return min(all_of_them, default=0), max(all_of_them, default=0)

    @functools.cached_property
    def planes(self) -> tuple[int, ...]:
        """The planes that any tap reads."""
        taps = [tap for phase in range(self.spread) for tap in self.taps(phase)]
        return tuple(sorted({tap.plane for tap in taps}))

    def in_plane(self, plane: int) -> int:
        """Elements of the input that a plane holds."""
        return max(0, -(-(self.source - plane) // self.stride))


@dataclass(frozen=True)
class Geometry:
    """A convolution's sizes.

    Args:
        batch: Images.
        groups: Groups of channels that do not mix.
        channels: Input channels of a group.
        outs: Output channels of a group.
        lines: The spatial axes.
        element: LLVM type of the sums: ``float`` or ``double``.
        summed: What is made of it is summed over the pixels of each image.
    """

    batch: int
    groups: int
    channels: int
    outs: int
    lines: tuple[Line, ...]
    element: str
    summed: bool = False

    @functools.cached_property
    def flops(self) -> float:
        """Multiplications and additions together, those with zeros of the padding too."""
        taps = 1.0
        for line in self.lines:
            taps *= sum(len(line.taps(p)) * line.count for p in range(line.spread))
        return 2.0 * self.batch * self.groups * self.channels * self.outs * taps

    @property
    def phases(self) -> Iterator[tuple[int, ...]]:
        """The phases of the outputs, one number an axis."""
        return itertools.product(*(range(line.spread) for line in self.lines))


def describe(x: Instruction) -> Geometry:
    """The geometry of a ``convolution``."""
    image, weight = x.operands
    a = x.attributes
    lines = tuple(
        Line(*numbers)
        for numbers in zip(
            image.shape[2:],
            weight.shape[2:],
            x.result.shape[2:],
            a["stride"],
            (before for before, _ in a["padding"]),
            a["kernel_dilation"],
            a["input_dilation"],
            strict=True,
        )
    )
    groups = a["groups"]
    element = "float" if x.result.dtype == np.float32 else "double"
    channels, outs = weight.shape[1], weight.shape[0] // groups
    summed = bool(a.get(SUMMED, False))
    return Geometry(image.shape[0], groups, channels, outs, lines, element, summed)
