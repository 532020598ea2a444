"""Narrowing: work is done where there is least of it.

Reason: recording broadcasts operands before it computes. An Adam update copies some ten scalars to
the shape of every parameter; what depends on scalars alone is computed once, as a scalar, and what
is summed is not copied first.

- f(copies of x, copies of y) → copies of f(x, y), for every elementwise f. Exact.
- A part of an elementwise result that nobody else reads is computed alone, be it a slice or
  gathered. Exact; one gather of the places stays, which reports those that are out of range.
- Parts of copies → copies of parts; parts of joined or padded arrays → parts of what was joined or
  padded. Exact.
- Maximum or minimum over copies → over the originals. Exact.
- A sum over n copies → n times the sum of the originals: in exact arithmetic equal, and closer to
  it than n additions. Not for 16-bit floats, whose n need not exist.
- A reduction beside the copied axes → copies of the reduction. Exact.
- A reduction of a transposed array → of the array. Sums are added in another order.
"""

from __future__ import annotations

import math

from chainrule.ops import dtypes
from chainrule.ops.operands import broadcast_shapes
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.rewriting import (
    Rewriter,
    copied,
    elementwise_names,
    made_by,
    rewrite,
    table,
)


def narrowing(block: Block) -> bool:
    """Move work of the block and its bodies before copies and behind selection.

    Returns:
        Whether anything changed.
    """
    return rewrite(block, _RULES)


def _before_copies(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    sources = []
    for x in instruction.operands:
        source = copied(x)
        if source is None:
            return None
        sources.append(source)
    shape = broadcast_shapes(*(source.shape for source in sources))
    result = instruction.result
    if math.prod(shape) >= result.size:
        return None
    aligned = [
        source if source.shape == shape else walk.emit("broadcast_to", source, shape=shape)
        for source in sources
    ]
    value = walk.emit(instruction.op.name, *aligned, **instruction.attributes)
    return walk.emit("broadcast_to", value, shape=result.shape)


def _slice(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, result = instruction.operands[0], instruction.result
    producer = x.producer
    if producer is None or result.size >= x.size:
        return None
    if producer.op.name == "broadcast_to":
        return _slice_of_copies(walk, instruction, producer.operands[0])
    if producer.op.name == "concatenate":
        return _slice_of_joined(walk, instruction, producer)
    if producer.op.name == "pad":
        return _slice_of_padded(walk, instruction, producer)
    if producer.op.name not in _ELEMENTWISE or walk.uses(x) != 1:
        return None
    parts = [walk.emit("slice", y, **instruction.attributes) for y in producer.operands]
    return walk.emit(producer.op.name, *parts, **producer.attributes)


def _slice_of_copies(walk: Rewriter, instruction: Instruction, source: Tensor) -> Tensor | None:
    """Cut the axes that the source has; of the others only the size changes."""
    shape = instruction.result.shape
    missing = len(shape) - len(source.shape)
    starts, stops, strides = [], [], []
    for axis, size in enumerate(source.shape, missing):
        own = instruction.attributes
        is_copied = size == 1
        starts.append(0 if is_copied else own["starts"][axis])
        stops.append(1 if is_copied else own["stops"][axis])
        strides.append(1 if is_copied else own["strides"][axis])
    part = walk.emit(
        "slice", source, starts=tuple(starts), stops=tuple(stops), strides=tuple(strides)
    )
    return walk.emit("broadcast_to", part, shape=shape)


def _moved(walk: Rewriter, instruction: Instruction, x: Tensor, by: tuple[int, ...]) -> Tensor:
    """The same slice of ``x``, whose places are those of the operand less ``by``."""
    starts, stops, strides = (instruction.attributes[k] for k in ("starts", "stops", "strides"))
    return walk.emit(
        "slice",
        x,
        starts=tuple(a - n for a, n in zip(starts, by, strict=True)),
        stops=tuple(b - n for b, n in zip(stops, by, strict=True)),
        strides=strides,
    )


def _slice_of_joined(
    walk: Rewriter, instruction: Instruction, joined: Instruction
) -> Tensor | None:
    """A slice that lies within one part is a slice of that."""
    axis = joined.attributes["axis"]
    first = instruction.attributes["starts"][axis]
    last = instruction.attributes["stops"][axis]
    begin = 0
    for part in joined.operands:
        end = begin + part.shape[axis]
        if begin <= first < last <= end:
            by = tuple(begin if a == axis else 0 for a in range(len(part.shape)))
            return _moved(walk, instruction, part, by)
        begin = end
    return None


def _slice_of_padded(
    walk: Rewriter, instruction: Instruction, padded: Instruction
) -> Tensor | None:
    """A slice that sees no border is a slice of what was padded."""
    x, low = padded.operands[0], padded.attributes["low"]
    starts, stops = instruction.attributes["starts"], instruction.attributes["stops"]
    if any(padded.attributes["interior"]) or any(
        not n <= a < b <= n + size
        for a, b, n, size in zip(starts, stops, low, x.shape, strict=True)
    ):
        return None
    return _moved(walk, instruction, x, low)


def _gather(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, indices = instruction.operands
    producer = x.producer
    if (
        producer is None
        or producer.op.name not in _ELEMENTWISE
        or instruction.result.size >= x.size
        or walk.uses(x) != 1
        or all(copied(y) is not None for y in producer.operands)  # no gather would stay
    ):
        return None
    parts = [_gathered(walk, y, indices, instruction.result) for y in producer.operands]
    return walk.emit(producer.op.name, *parts, **producer.attributes)


def _gathered(walk: Rewriter, x: Tensor, indices: Tensor, like: Tensor) -> Tensor:
    """``gather(x, indices)``; of copies, what does not depend on the place is read directly."""
    source = copied(x)
    if source is not None and source.shape == ():
        return walk.emit("broadcast_to", source, shape=like.shape)
    by_row = source is not None and source.shape == (*x.shape[:-1], 1)
    if source is not None and by_row and _is_one_a_row(x, indices):
        return walk.emit("reshape", source, shape=like.shape)
    return walk.emit("gather", x, indices)


def _is_one_a_row(x: Tensor, indices: Tensor) -> bool:
    """The indices name one place in each row of ``x``: counters of the rows, then a label."""
    joined = made_by(indices, "concatenate")
    rank = len(indices.shape)
    if joined is None or joined.attributes["axis"] != rank - 1 or len(joined.operands) != rank:
        return False
    for axis, column in enumerate(joined.operands[:-1]):
        counter = made_by(column, "iota")
        if counter is None or column.shape[-1] != 1 or counter.attributes["axis"] != axis:
            return False
    return len(x.shape) == rank and x.shape[:-1] == indices.shape[:-1]


def _reduce(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, axes = instruction.operands[0], instruction.attributes["axes"]
    source = copied(x)
    if source is not None:
        return _reduce_copies(walk, instruction, source)
    inner = made_by(x, "transpose")
    if inner is None:
        return None
    order = inner.attributes["axes"]
    own = tuple(sorted(order[a] for a in axes))
    reduced = walk.emit(instruction.op.name, inner.operands[0], axes=own)
    left = [order[a] for a in range(len(order)) if a not in axes]
    ranks = {a: rank for rank, a in enumerate(sorted(left))}
    return walk.emit("transpose", reduced, axes=tuple(ranks[a] for a in left))


def _reduce_copies(walk: Rewriter, instruction: Instruction, source: Tensor) -> Tensor | None:
    """Reduce the originals; copies along reduced axes count as a factor, others are made after."""
    x, axes, name = instruction.operands[0], instruction.attributes["axes"], instruction.op.name
    missing = len(x.shape) - len(source.shape)
    along = {
        a
        for a, size in enumerate(x.shape)
        if a < missing or (source.shape[a - missing] == 1 and size != 1)
    }
    count = math.prod(x.shape[a] for a in along.intersection(axes))
    is_sum = name == "sum"
    short = x.dtype.itemsize == 2 and x.dtype.kind not in "iu"
    if count == 0 or (is_sum and short and count > 1):
        return None
    own = [a for a in range(len(x.shape)) if a not in along]
    value = walk.emit("reshape", source, shape=tuple(x.shape[a] for a in own))
    reduced = tuple(own.index(a) for a in axes if a not in along)
    if reduced:
        value = walk.emit(name, value, axes=reduced)
    if is_sum and count > 1:
        factor = walk.fill(_times(count, x), value.shape, x.dtype)
        value = walk.emit("multiply", value, factor)
    left = [a for a in range(len(x.shape)) if a not in axes]
    value = walk.emit("reshape", value, shape=tuple(1 if a in along else x.shape[a] for a in left))
    return walk.emit("broadcast_to", value, shape=instruction.result.shape)


def _times(count: int, x: Tensor) -> int:
    """The factor for ``count`` copies; of integers modulo their range, as sums are."""
    if dtypes.is_floating(x.dtype):
        return count
    bits = x.dtype.itemsize * 8
    count %= 1 << bits
    return count - (1 << bits) if x.dtype.kind == "i" and count >> (bits - 1) else count


_ELEMENTWISE = frozenset(elementwise_names().split())
_RULES = table(
    (elementwise_names(), _before_copies),
    ("slice", _slice),
    ("gather", _gather),
    ("sum max min", _reduce),
)
