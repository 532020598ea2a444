"""Lookups: products of rows that a table holds are products of the table.

Reason: an embedding looks up a row for each token, and tokens are many more than rows of the table.
The products of all looked-up rows with a layer's weights are the same few rows again and again.

- x[i]·w of a table x with far fewer rows than places that are looked up becomes (x·w)[i]. Exact.
- So does a sum, a difference or a product with copies along the places, such as a bias. Exact.
- The weights' gradient gᵀ·x[i], summed over the places, becomes sᵀ·x, where s is g added up by
  row of the table; added up in another order.
- The table's gradient, g·w added up by row, becomes s·w with the same s; added up in another order.
- Places that are looked up, or added to, in one order and then turned (sequences of which batches
  come first, in a layer that goes by time) are looked up in the other. Exact, but for the order in
  which slices are added up.
"""

from __future__ import annotations

import math

import numpy as np

from chainrule.ops import dtypes
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.contractions import free_axes
from chainrule.program.compiler.passes.rewriting import (
    Rewriter,
    copied,
    made_by,
    rewrite,
    table,
    uniform,
)

FEWER = 2  # times fewer rows than places: below, adding up by rows costs what it saves


def lookups(block: Block) -> bool:
    """Multiply tables instead of what was looked up in them, in the block and its bodies.

    Returns:
        Whether anything changed.
    """
    return rewrite(block, _RULES)


def _lookup(x: Tensor) -> Instruction | None:
    """The gather of whole slices that makes ``x``, if its table is small beside it."""
    found = made_by(x, "gather")
    if found is None or not dtypes.is_floating(x.dtype):
        return None
    return found if is_small(found.operands[0], found.operands[1]) else None


def is_small(x: Tensor, places: Tensor) -> bool:
    """True if a table has far fewer rows than are looked up in it."""
    rows = math.prod(x.shape[: places.shape[-1]])
    return 0 < rows * FEWER <= math.prod(places.shape[:-1])


def _product(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    contract, batch = instruction.attributes["contract"], instruction.attributes["batch"]
    if batch[0]:
        return None
    for side, x in enumerate(instruction.operands):
        found = _lookup(x)
        if found is None:
            continue
        n = len(found.operands[1].shape) - 1  # axes of the places
        if side == 0 and min(contract[0], default=0) >= n:
            return _product_of_table(walk, instruction, found, n)
        if sorted(contract[side]) == list(range(n)):
            return _gradient_of_weights(walk, instruction, found, side, n)
    return None


def _product_of_table(
    walk: Rewriter, instruction: Instruction, found: Instruction, n: int
) -> Tensor:
    x, places = found.operands
    contract = instruction.attributes["contract"]
    by = places.shape[-1] - n  # the table has so many axes more, or fewer, than what was looked up
    own = tuple(axis + by for axis in contract[0])
    product = walk.emit(
        "dot_general", x, instruction.operands[1], contract=(own, contract[1]), batch=((), ())
    )
    return walk.emit("gather", product, places)


def _beside_copies(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """x[i] + copies of b is (x + copies of b)[i]."""
    for side, x in enumerate(instruction.operands):
        found = _lookup(x)
        source = copied(instruction.operands[1 - side])
        if found is None or source is None or walk.uses(x) > 1:
            continue
        data, places = found.operands
        rest = data.shape[places.shape[-1] :]
        n = len(source.shape) - len(rest)
        if any(size != 1 for size in source.shape[: max(n, 0)]):
            continue
        if n > 0:
            source = walk.emit("reshape", source, shape=source.shape[n:])
        operands = [data, walk.emit("broadcast_to", source, shape=data.shape)]
        value = walk.emit(instruction.op.name, *operands[:: -1 if side else 1])
        return walk.emit("gather", value, places)
    return None


def _gradient_of_weights(
    walk: Rewriter, instruction: Instruction, found: Instruction, side: int, n: int
) -> Tensor:
    x, places = found.operands
    contract = instruction.attributes["contract"]
    g = instruction.operands[1 - side]
    # the axes of the places first, in their order
    lead = [contract[1 - side][contract[side].index(axis)] for axis in range(n)]
    rest = free_axes(g, tuple(lead))
    sums = _added_by_row(walk, g, tuple(lead), rest, places, x.shape[: places.shape[-1]])
    axes = tuple(range(places.shape[-1]))
    operands = (x, sums) if side == 0 else (sums, x)
    return walk.emit("dot_general", *operands, contract=(axes, axes), batch=((), ()))


def _added_by_row(
    walk: Rewriter,
    g: Tensor,
    lead: tuple[int, ...],
    rest: tuple[int, ...],
    places: Tensor,
    rows: tuple[int, ...],
) -> Tensor:
    """Slices of ``g`` for each place, added up in the rows that the places name."""
    if (*lead, *rest) != tuple(range(len(g.shape))):
        g = walk.emit("transpose", g, axes=(*lead, *rest))
    shape = (*rows, *(g.shape[len(lead) :]))
    zeros = walk.fill(np.zeros((), g.dtype)[()], shape, g.dtype)
    return walk.emit("scatter", zeros, places, g, mode="add")


def _gradient_of_table(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    target, places, updates = instruction.operands
    start = uniform(target)
    inner = made_by(updates, "dot_general")
    if instruction.attributes["mode"] != "add" or inner is None or start is None or start != 0:
        return None
    if not dtypes.is_floating(updates.dtype) or not is_small(target, places):
        return None
    contract, batch = inner.attributes["contract"], inner.attributes["batch"]
    n = len(places.shape) - 1
    g, w = inner.operands
    lead = free_axes(g, contract[0])
    if batch[0] or len(lead) != n or walk.uses(updates) > 1:
        return None
    rows = target.shape[: places.shape[-1]]
    sums = _added_by_row(walk, g, lead, contract[0], places, rows)
    own = tuple(range(len(rows), len(rows) + len(contract[0])))
    return walk.emit("dot_general", sums, w, contract=(own, contract[1]), batch=((), ()))


def _turned_lookup(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """Slices looked up and then turned are looked up at turned places."""
    found = _lookup(instruction.operands[0])
    axes = instruction.attributes["axes"]
    if found is None:
        return None
    data, places = found.operands
    n = len(places.shape) - 1
    if axes[n:] != tuple(range(n, len(axes))):
        return None
    return walk.emit("gather", data, walk.emit("transpose", places, axes=(*axes[:n], n)))


def _turned_updates(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """Slices turned and then added up by row are added up at turned places."""
    target, places, updates = instruction.operands
    turned = made_by(updates, "transpose")
    if turned is None or instruction.attributes["mode"] != "add" or not is_small(target, places):
        return None
    axes = turned.attributes["axes"]
    n = len(places.shape) - 1
    if axes[n:] != tuple(range(n, len(axes))) or not dtypes.is_floating(updates.dtype):
        return None
    back = sorted(range(n), key=lambda axis: axes[axis])
    where = walk.emit("transpose", places, axes=(*back, n))
    return walk.emit("scatter", target, where, turned.operands[0], mode="add")


_RULES = table(
    ("transpose", _turned_lookup),
    ("dot_general", _product),
    ("add subtract multiply", _beside_copies),
    ("scatter", _gradient_of_table),
    ("scatter", _turned_updates),
)
