"""Sums over all images and pixels of what a convolution makes, cut so that its kernel can do them.

Batch norm sums each channel over images and pixels, forward and backward. Summed over the pixels of
each image first, the sums are made where the convolution writes its result, from registers; what is
left, a number an image and channel, is added up by a kernel of almost no work.

Rounding: the mean is a sum of sums. The variance is that of the pixels of each image about the
image's own mean, and that of those means (Chan, Golub and LeVeque 1983, "Algorithms for computing
the sample variance"): no more error than by sums of squares about the common mean, and nothing has
to be known of other images.

What batch norm makes of the result is then computed again wherever it is read, from the
convolution's result and two numbers a channel, instead of being kept in memory beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.convolutions.geometry import SUMMED
from chainrule.program.compiler.convolutions.planning import AnyPlan, PixelPlan
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.reductions import REDUCTIONS

LEAST_PIXELS = 16  # of an image, for which sums of their own are worth having
LEAST_ELEMENTS = 1 << 14  # below that a kernel holds all of it in the cache
CHEAP = frozenset(
    ("add", "subtract", "multiply", "negative", "relu", "maximum", "minimum", "greater", "less")
)
MOST_OPS = 8  # that are computed again for a reader
ALIGNED = frozenset((*CHEAP, "where", "abs", "cast", "greater_equal", "less_equal"))


def summing(plans: Mapping[Instruction, AnyPlan]) -> dict[Instruction, bool]:
    """The convolutions whose kernels can fold over the pixels of each image as they write them.

    Returns:
        With each whether it may go over the pixels again when a fold is finished: not where rows
        are written in several phases.
    """
    return {
        x: all(line.spread == 1 for line in plan.geometry.lines[:-1])
        for x, plan in plans.items()
        if isinstance(plan, PixelPlan) and not plan.form.planes.is_banded
    }


def split_sums(block: Block, plans: Mapping[Instruction, AnyPlan]) -> set[Instruction]:
    """Cut sums over images and pixels in two.

    Args:
        block: Its instructions are changed and added to; convolutions whose pixels are summed
            are marked, for their plan to keep images whole.
        plans: How its convolutions are computed.

    Returns:
        What every reader should compute for itself.
    """
    pending, block.instructions = block.instructions, []
    writer = _Writer(block)
    made: dict[Tensor, frozenset[Instruction]] = {}
    found: set[Tensor] = set()
    for x in pending:
        beside = [t for t in x.operands if t in made and t.shape == x.results[0].shape]
        if isinstance(plans.get(x), PixelPlan):
            made[x.result] = frozenset((x,))
        elif x.op.name in ALIGNED and beside:
            made[x.result] = frozenset().union(*(made[t] for t in beside))
        elif _is_sum_of_pixels(x) and x.operands[0] in made:
            for convolution in made[x.operands[0]]:
                convolution.attributes = {**convolution.attributes, SUMMED: True}
            varied = _deviating(x, writer.by_image)
            if varied is not None:
                found.add(varied)
                writer.variance(x, varied)
            else:
                writer.total(x)
        block.instructions.append(x)
    return writer.means | _computed_again(block, found) if found else set()


def _is_sum_of_pixels(x: Instruction) -> bool:
    if x.op.name != "sum":
        return False
    shape = x.operands[0].shape
    pixels = math.prod(shape[2:])
    large = pixels >= LEAST_PIXELS and x.operands[0].size >= LEAST_ELEMENTS
    exact = x.operands[0].dtype in (np.float32, np.float64)
    return large and exact and shape[0] > 1 and x.attributes["axes"] == _all_but_channels(shape)


def _all_but_channels(shape: Sequence[int]) -> tuple[int, ...]:
    return (0, *range(2, len(shape)))


def _deviating(x: Instruction, by_image: Mapping[Tensor, Tensor]) -> Tensor | None:
    """v, if x is the sum of (v − v's mean over the same axes)², and v's own sum has been cut."""
    square = x.operands[0].producer
    if square is None or square.op.name != "multiply":
        return None
    difference = square.operands[0].producer
    if square.operands[0] is not square.operands[1] or difference is None:
        return None
    if difference.op.name != "subtract" or difference.operands[0] not in by_image:
        return None
    value, spread = difference.operands
    mean = _source(spread).producer
    if mean is None or mean.op.name != "multiply":
        return None
    count = value.size // value.shape[1]
    for part, factor in (mean.operands, mean.operands[::-1]):
        total, number = _source(part).producer, _source(factor).constant
        if total is None or number is None or number.size != 1 or total.op.name != "sum":
            continue
        if total.operands[0] is by_image[value] and _is_close(float(number.reshape(())), 1 / count):
            return value
    return None


def _is_close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * abs(b)


def _source(tensor: Tensor) -> Tensor:
    """What a tensor shows the elements of, in another shape, or spread over more places."""
    while tensor.producer is not None and tensor.producer.op.name in ("broadcast_to", "reshape"):
        tensor = tensor.producer.operands[0]
    return tensor


class _Writer:
    """Adds instructions to a block.

    Args:
        block: The block.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.by_image: dict[Tensor, Tensor] = {}
        self.means: set[Instruction] = set()

    def total(self, x: Instruction) -> None:
        """Cut a sum in two: ``x`` becomes the sum over images."""
        value = x.operands[0]
        self.by_image[value] = part = self._pixel_sums(value, x)
        x.operands, x.attributes = [part], {**x.attributes, "axes": (0,)}

    def variance(self, x: Instruction, value: Tensor) -> None:
        """Make ``x``, the sum of squared deviations of ``value``, the sum of images' own."""
        square = x.operands[0].producer
        assert square is not None
        difference = square.operands[0].producer
        assert difference is not None
        common = _source(difference.operands[1])
        pixels = math.prod(value.shape[2:])
        pairs, dtype = value.shape[:2], value.dtype
        ones = (1,) * (len(value.shape) - 2)
        own = self._by_number(self.by_image[value], 1.0 / pixels, x)
        assert own.producer is not None
        self.means.add(own.producer)
        spread = self._add("reshape", [own], {"shape": (*pairs, *ones)}, (*pairs, *ones), x, dtype)
        inside = self._pixel_sums(self._squared(value, self._spread(spread, value.shape, x), x), x)
        flat = self._add("reshape", [common], {"shape": pairs[1:]}, pairs[1:], x, dtype)
        between = self._sum(self._squared(own, self._spread(flat, pairs, x), x), (0,), x)
        within = self._sum(inside, (0,), x)
        x.op, x.attributes = REGISTRY["add"], {}
        x.operands = [within, self._by_number(between, float(pixels), x)]

    def _pixel_sums(self, value: Tensor, x: Instruction) -> Tensor:
        return self._sum(value, tuple(range(2, len(value.shape))), x)

    def _sum(self, value: Tensor, axes: tuple[int, ...], x: Instruction) -> Tensor:
        shape = tuple(n for i, n in enumerate(value.shape) if i not in axes)
        return self._add("sum", [value], {"axes": axes}, shape, x, value.dtype)

    def _squared(self, value: Tensor, centre: Tensor, x: Instruction) -> Tensor:
        away = self._add("subtract", [value, centre], {}, value.shape, x, value.dtype)
        return self._add("multiply", [away, away], {}, value.shape, x, value.dtype)

    def _spread(self, value: Tensor, shape: tuple[int, ...], x: Instruction) -> Tensor:
        return self._add("broadcast_to", [value], {"shape": shape}, shape, x, value.dtype)

    def _by_number(self, value: Tensor, number: float, x: Instruction) -> Tensor:
        constant = Tensor((), value.dtype, constant=np.asarray(number, value.dtype))
        factor = self._spread(constant, value.shape, x)
        return self._add("multiply", [value, factor], {}, value.shape, x, value.dtype)

    def _add(
        self,
        op: str,
        operands: Sequence[Tensor],
        attributes: dict[str, tuple[int, ...]],
        shape: tuple[int, ...],
        like: Instruction,
        dtype: np.dtype[np.generic],
    ) -> Tensor:
        made = Instruction(REGISTRY[op], operands, dict(attributes), [(shape, dtype)], like.origin)
        self.block.instructions.append(made)
        return made.result


def _computed_again(block: Block, varied: set[Tensor]) -> set[Instruction]:
    """What can be computed from one of ``varied``, which stay in memory, and little else."""
    users = block.users()
    leaving = set(block.outputs)
    ops: dict[Tensor, int] = dict.fromkeys(varied, 0)
    origin: dict[Tensor, Tensor] = {t: t for t in varied}
    found: set[Instruction] = set()
    for x in block.instructions:
        if x.op.name not in CHEAP or x.result in leaving:
            continue
        large = [t for t in x.operands if not _is_small(t, x.result)]
        known = {origin.get(t) for t in large}
        if len(known) != 1 or None in known:
            continue
        count = 1 + sum(ops[t] for t in dict.fromkeys(large))
        if count > MOST_OPS or not all(map(_reads_elements, users.get(x.result, []))):
            continue
        found.add(x)
        ops[x.result] = count
        (origin[x.result],) = (t for t in known if t is not None)
    return found


def _is_small(tensor: Tensor, beside: Tensor) -> bool:
    """True for numbers, and for few of them spread over many places."""
    return _source(tensor).size * LEAST_PIXELS <= beside.size


def _reads_elements(x: Instruction) -> bool:
    return x.op.name in REDUCTIONS or x.op.name in ALIGNED
