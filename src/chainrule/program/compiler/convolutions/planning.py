"""Chooses how a convolution is computed, from its sizes and the target."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.correlations import (
    Correlation,
    plan_correlation,
)
from chainrule.program.compiler.convolutions.depthwise import TapSums, plan_taps
from chainrule.program.compiler.convolutions.geometry import Geometry
from chainrule.program.compiler.convolutions.image_lanes import (
    LaneGradient,
    LaneSums,
    plan_lane_gradient,
    plan_lanes,
)
from chainrule.program.compiler.convolutions.pixels import Pixels, choose_tile
from chainrule.program.compiler.convolutions.planes import Planes
from chainrule.program.compiler.llvm.types import size_of
from chainrule.program.compiler.target import Target

ENOUGH_TASKS = 16
LEAST_FLOPS = 8192  # below this a plain loop is as good
MOST_PLACES = 128  # of a kernel
MOST_IMAGES = 32
LINE = 64  # bytes of a line of the cache
FMAS = 2  # vectors multiplied and added a cycle
ROW_CYCLES = 2.0  # of a row that is copied, beside its vectors
LAID_OUT_AGAIN = 1 / 16  # share of the arithmetic that laying out images once a part more may take
GATHERED = 1.06  # times longer that tiles take, as measured, if columns are gathered
LOST = 0.45  # cycles a line drawn by a tile, for each other row between those of a tile


@dataclass(frozen=True)
class PixelPlan:
    """A convolution with pixels in the lanes.

    Args:
        form: The tiles of a task.
        parts: Tasks that share the output channels of the same pixels.
    """

    form: Pixels
    parts: int

    @property
    def geometry(self) -> Geometry:
        """The convolution."""
        return self.form.geometry

    @property
    def blocks(self) -> int:
        """Blocks of images."""
        return self.geometry.batch // self.form.planes.images

    @property
    def bands(self) -> int:
        """Bands of rows of an image; the last one reaches back where they do not fit."""
        return -(-self.geometry.lines[0].count // self.form.planes.band)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.blocks * self.geometry.groups * self.bands * self.parts

    def weights_before(self, phase: tuple[int, ...]) -> int:
        """Packed weights of the phases before this one."""
        total = 0
        for other in self.geometry.phases:
            if other == phase:
                break
            total += self._weights(other)
        return total

    def _weights(self, phase: tuple[int, ...]) -> int:
        return self.geometry.groups * self.geometry.outs * self.depth(phase)

    def depth(self, phase: tuple[int, ...]) -> int:
        """Multiply-adds of an output of the phase."""
        lines = self.geometry.lines
        taps = [len(line.taps(p)) for line, p in zip(lines, phase, strict=True)]
        return self.geometry.channels * math.prod(taps)

    @property
    def packed_weights(self) -> int:
        """Elements of the packed weights of all phases."""
        return sum(map(self._weights, self.geometry.phases))


AnyPlan = PixelPlan | Correlation | TapSums | LaneSums | LaneGradient


@functools.lru_cache(maxsize=1024)
def plan_convolution(geometry: Geometry, target: Target) -> AnyPlan | None:
    """How to compute a convolution; None if a plain loop does it best."""
    if geometry.flops < LEAST_FLOPS:
        return None
    places = math.prod(line.kernel for line in geometry.lines)
    pixels = math.prod(line.out for line in geometry.lines)
    in_lanes = (plan_lane_gradient if places > pixels else plan_lanes)(geometry, target)
    if in_lanes is not None:
        return in_lanes
    if places > pixels:
        found = plan_taps(geometry, target) or plan_correlation(geometry, target)
        if found is not None:
            return found
    return plan_pixels(geometry, target) if places <= MOST_PLACES else None


def plan_pixels(geometry: Geometry, target: Target) -> PixelPlan | None:
    """The plan with the least time by count; None if a row of channels does not fit the cache."""
    size = size_of(geometry.element)
    lanes = target.lanes(size)
    best: tuple[float, PixelPlan] | None = None
    for images, band, gathered in _cuts(geometry):
        planes = Planes(geometry, images, band, lanes, gathered)
        if planes.size * size > (target.level1 if gathered else target.level2 // 3):
            continue
        form, cycles = choose_tile(planes, target)
        plan = PixelPlan(form, 1)
        depth = sum(map(plan.depth, geometry.phases))
        n_tasks = max(1, plan.blocks * plan.bands)
        traffic = plan.packed_weights / geometry.groups * size / 32
        if traffic * 32 > target.level2 // 2:
            traffic *= 2
        time = n_tasks * (cycles * depth + traffic + _around(form) + _drawn(form, target))
        if gathered:  # more lines of the cache are read
            time *= GATHERED
        if geometry.groups > 1 and images > 1:  # pieces of every image, far from each other
            time *= 2.0
        if geometry.summed and planes.is_banded:  # the sums would be kernels of their own
            time *= 1.5
        if geometry.groups * n_tasks < ENOUGH_TASKS:
            time *= 1.0 + 0.02 * (ENOUGH_TASKS - geometry.groups * n_tasks)
        if best is None or time < best[0] * 0.985:
            best = time, plan
    if best is None:
        return None
    plan = best[1]
    missing = -(-ENOUGH_TASKS // max(1, plan.tasks))
    work = geometry.flops / 2 / lanes / FMAS / max(1, plan.tasks)
    worth = 1 + int(work * LAID_OUT_AGAIN / _laying_out(plan.form))
    parts = min(missing, plan.form.channels.count, worth) if geometry.flops > 2e5 else 1
    return PixelPlan(plan.form, max(1, parts))


def _laying_out(form: Pixels) -> float:
    """Cycles of laying out a task's images, where these are in the cache: all rows are copied."""
    planes = form.planes
    row = planes.strides[-2]
    rows = form.geometry.channels * planes.n_planes * planes.plane / row
    return rows * (row / form.lanes + ROW_CYCLES)


def _around(form: Pixels) -> float:
    """Cycles of a task that are not arithmetic: images are laid out, sums are read again."""
    planes, g = form.planes, form.geometry
    row = planes.strides[-2]
    rows = g.channels * planes.n_planes * planes.plane / row
    outs = g.outs * planes.images * planes.band
    for line in g.lines[1:-1]:
        outs *= line.out
    columns = g.lines[-1].out
    if form.dense:
        outs, columns = g.outs * planes.images, planes.band * columns
    if planes.gathered:  # places of the kernel read the same rows
        rows /= len(planes.slots(len(g.lines) - 1))
    laid_out = rows * (1.5 * row / form.lanes + 12)
    if planes.gathered:
        laid_out += _laying_out(form)
    read = outs * g.lines[0].spread * (4.0 * columns / form.lanes + 8)
    return laid_out + read + 150.0 * form.channels.count + 200.0


def _drawn(form: Pixels, target: Target) -> float:
    """Cycles lost while tiles draw their rows of pixels from the second-level cache.

    The rows of a tile are pieces of every channel. Where the channels' other rows lie between
    them, no stream is seen that could be fetched ahead of time.
    """
    planes, size = form.planes, size_of(form.geometry.element)
    if planes.size * size <= 1.25 * target.level1:
        return 0.0
    g = form.geometry
    # where stride and dilation share a factor, the first phase may read nothing
    rows = max(1, len(planes.lead_offsets((0,) * len(g.lines))) + form.rows - 1)
    all_rows = planes.n_planes * planes.plane / planes.strides[-2]
    gaps = min(1.0, LOST * (all_rows / rows - 1))
    lines = g.channels * rows * (form.vectors * form.lanes * size / LINE + 1)
    around = g.channels * rows * planes.strides[-2]
    if around * size <= target.level1 * 3 // 8:  # the tiles below find them still there
        lines /= rows
    return gaps * lines * form.channels.count * form.tiles


def _cuts(geometry: Geometry) -> Iterator[tuple[int, int, bool]]:
    """Images in a block, rows in a band, and whether columns are gathered (see ``Planes``)."""
    line = geometry.lines[-1]
    may_gather = len(geometry.lines) > 1 and line.spread == 1 < line.kernel
    for images, band in _blocks(geometry):
        yield images, band, False
        if may_gather:
            yield images, band, True


def _blocks(geometry: Geometry) -> Iterator[tuple[int, int]]:
    """Images in a block and rows in a band: several images whole, or one in bands."""
    rows = geometry.lines[0].count
    for images in range(1, min(MOST_IMAGES, geometry.batch) + 1):
        if geometry.batch % images == 0:
            yield images, rows
    bands = 2 if len(geometry.lines) > 1 else rows + 1
    while bands <= rows:
        yield 1, -(-rows // bands)
        bands *= 2
