"""Loops over the rows of a convolution with images in the lanes, and which taps see an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Line
from chainrule.program.compiler.convolutions.image_lanes import Taps, taps_of
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.products.product import maximum, minimum, quotient
from chainrule.program.compiler.products.tiling import frozen


@dataclass(frozen=True)
class Rows:
    """The rows of taps that one row of outputs sees.

    Args:
        bounds: First and last (exclusive) tap along each axis but the last.
        taps: What they are.
        image: Elements from an image's start to the row that the first taps read.
        kernel: The same from the kernel's start.
    """

    bounds: tuple[tuple[Value | int, Value | int], ...]
    taps: tuple[Taps, ...]
    image: Value
    kernel: Value


class RowLoops:
    """Writes loops over output rows, and loops over the rows of taps that each of them sees.

    Args:
        builder: The function.
        lines: The spatial axes.
        image: Elements from one input to the next, along each axis.
        kernel: Elements from one place of the kernel to the next.
        element: LLVM type of the elements.
    """

    def __init__(
        self,
        builder: Builder,
        lines: Sequence[Line],
        image: Sequence[int],
        kernel: Sequence[int],
        element: str,
    ) -> None:
        self.b = builder
        self.lines = lines
        self.image = image
        self.kernel = kernel
        self.element = element

    def outputs(
        self, body: Callable[[Rows], None], enter: Callable[[int, Value | None], None]
    ) -> None:
        """Loops over all output rows.

        Args:
            body: Writes what is done for a row.
            enter: Told the axis and the output's number when a loop begins; None: it ends.
        """
        zero = self.b.i64(0)
        self._outputs(0, Rows((), (), zero, zero), body, enter)

    def _outputs(
        self,
        axis: int,
        rows: Rows,
        body: Callable[[Rows], None],
        enter: Callable[[int, Value | None], None],
    ) -> None:
        if axis == len(self.lines) - 1:
            body(rows)
            return
        b, line = self.b, self.lines[axis]
        for phase in range(min(line.spread, line.out)):
            taps = taps_of(line, phase)
            with b.loop(0, -(-(line.out - phase) // line.spread)) as i:
                out = b.add(b.mul(i.index, b.i64(line.spread)), b.i64(phase))
                enter(axis, out)
                low, high = self._bounds(line, taps, i.index)
                first = low if isinstance(low, Value) else b.i64(low)
                seen = b.add(b.mul(i.index, b.i64(taps.stride)), b.i64(taps.start))
                seen = b.add(seen, b.mul(first, b.i64(taps.inside)))
                place = b.add(b.mul(first, b.i64(taps.step)), b.i64(taps.place))
                inner = Rows(
                    (*rows.bounds, (low, high)),
                    (*rows.taps, taps),
                    b.add(rows.image, b.mul(seen, b.i64(self.image[axis]))),
                    b.add(rows.kernel, b.mul(place, b.i64(self.kernel[axis]))),
                )
                self._outputs(axis + 1, inner, body, enter)
                enter(axis, None)

    def _bounds(self, line: Line, taps: Taps, i: Value) -> tuple[Value | int, Value | int]:
        """First and last (exclusive) tap that sees an input, of output number i of the phase."""
        b = self.b
        last = (line.out - 1) // line.spread * taps.stride
        low: Value | int = 0
        high: Value | int = taps.count
        seen = b.add(b.mul(i, b.i64(taps.stride)), b.i64(taps.start))
        if taps.start < 0:
            # the smallest k with seen + k * inside >= 0
            missing = maximum(b, b.sub(b.i64(taps.inside - 1), seen), 0)
            low = minimum(b, quotient(b, missing, taps.inside), taps.count)
        if taps.start + last + (taps.count - 1) * taps.inside >= line.source:
            room = b.sub(b.i64(line.source - 1 + taps.inside), seen)
            high = minimum(b, quotient(b, maximum(b, room, 0), taps.inside), taps.count)
        return low, high

    def taps(
        self,
        rows: Rows,
        image: Value,
        kernel: Value,
        sums: list[Value],
        body: Callable[[Value, Value, list[Value]], list[Value]],
    ) -> list[Value]:
        """Loops over the rows of taps; gives the sums afterwards.

        Args:
            rows: Which.
            image, kernel: Addresses that the first row reads.
            sums: Values that are added to.
            body: Writes a row of taps: addresses and sums → sums.
        """
        return self._taps(0, rows, image, kernel, sums, body)

    def _taps(
        self,
        axis: int,
        rows: Rows,
        image: Value,
        kernel: Value,
        sums: list[Value],
        body: Callable[[Value, Value, list[Value]], list[Value]],
    ) -> list[Value]:
        if axis == len(self.lines) - 1:
            return body(image, kernel, sums)
        b, taps = self.b, rows.taps[axis]
        low, high = rows.bounds[axis]
        with b.loop(low, high, 1, [image, kernel, *sums]) as loop:
            at, place, *state = loop.carried
            state = self._taps(axis + 1, rows, at, place, state, body)
            further = taps.inside * self.image[axis], taps.step * self.kernel[axis]
            moved = [
                frozen(b, b.offset(pointer, step, self.element))
                for pointer, step in zip((at, place), further, strict=True)
            ]
            loop.carry(*moved, *state)
        return loop.results[2:]


def strides_of(sizes: Sequence[int], last: int) -> list[int]:
    """Elements from one place to the next along each axis; ``last`` along the last."""
    found = [last]
    for size in reversed(sizes[1:]):
        found.insert(0, found[0] * size)
    return found


def share(b: Builder, part: Value, count: int, parts: int) -> tuple[Value, Value]:
    """First and last (exclusive) of ``count`` things that are a part's."""
    if parts == 1:
        return b.i64(0), b.i64(count)
    after = b.mul(b.add(part, b.i64(1)), b.i64(count))
    return quotient(b, b.mul(part, b.i64(count)), parts), quotient(b, after, parts)
