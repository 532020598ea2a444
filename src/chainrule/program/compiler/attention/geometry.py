"""Sizes of an attention, and how queries and keys are cut into blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from chainrule.program.compiler.attention.operations import BACKWARD, extras_of, inputs_of
from chainrule.program.compiler.instructions import Instruction
from chainrule.program.compiler.target import Target

MOST_QUERIES = 128  # of a block of the forward pass: keys are copied once for all of them
MOST_PLACES = 96  # of a block of the backward pass: seven matrices of it share the second level
LEAST_TASKS = 8  # of the backward pass; fewer heads are cut into parts


@dataclass(frozen=True)
class Geometry:
    """Sizes.

    Args:
        batch: Sequences.
        heads: Heads of the queries.
        shared: Heads of keys and values, which divide ``heads``.
        queries: Places of the queries.
        keys: Places of the keys.
        features: Of a query and a key.
        value_features: Of a value.
        causal: Query i sees keys 0 … i only.
        scale: Factor of the scores.
        element: LLVM type: ``float`` or ``double``.
        lanes: Elements of a vector.
        tile_rows: Rows of a register tile.
        tile_vectors: Vectors of its row.
        masked: Numbers are added to the scores: ``"keys"``, one for each key; ``"pairs"``, one for
            each pair of a query and a key; empty: none are.
        dropped: Weights are dropped at random.
    """

    batch: int
    heads: int
    shared: int
    queries: int
    keys: int
    features: int
    value_features: int
    causal: bool
    scale: float
    element: str
    lanes: int
    tile_rows: int
    tile_vectors: int
    masked: str = ""
    dropped: bool = False

    @property
    def group(self) -> int:
        """Heads of queries that share keys."""
        return self.heads // self.shared

    @property
    def width(self) -> int:
        """Columns of a register tile."""
        return self.lanes * self.tile_vectors

    @property
    def pairs(self) -> float:
        """Pairs of a query and a key that meet, about, in all heads."""
        seen = self.keys * self.queries
        if self.causal:
            both = min(self.keys, self.queries)
            seen -= both * (both - 1) // 2 + both * (self.keys - both)
        return float(self.batch * self.heads * seen)

    @property
    def columns(self) -> int:
        """Queries of a block of the forward pass, whose lanes are queries."""
        sizes = range(self.width, max(MOST_QUERIES, self.width) + 1, self.width)
        return _least_waste(self.queries, sizes)

    @property
    def rows(self) -> int:
        """Keys of a block of the forward pass."""
        sizes = [self.tile_rows * n for n in range(8, 17)]
        if self.dropped:  # one draw has four words, for as many keys
            sizes = [size for size in sizes if size % 4 == 0]
        return _least_waste(self.keys, sizes)

    @property
    def block_queries(self) -> int:
        """Queries of a block of the backward pass."""
        return _least_waste(self.queries, range(16, MOST_PLACES + 1, 16))

    @property
    def block_keys(self) -> int:
        """Keys of a block of the backward pass, whose lanes are keys."""
        return _least_waste(self.keys, range(16, MOST_PLACES + 1, 16))

    @property
    def parts(self) -> int:
        """Parts of a head's keys whose gradients of the queries are summed at the end."""
        blocks = -(-self.keys // self.block_keys)
        return min(blocks, -(-LEAST_TASKS // (self.batch * self.shared)))

    @property
    def padded_queries(self) -> int:
        """Queries in whole blocks of the backward pass."""
        return -(-self.queries // self.block_queries) * self.block_queries


def _least_waste(places: int, sizes: Iterable[int]) -> int:
    """The block that cuts ``places`` with the fewest left over; the largest of those."""
    return min(sizes, key=lambda size: (-(-places // size) * size, -size))


def geometry_of(x: Instruction, target: Target) -> Geometry:
    """The geometry of one of attention's instructions."""
    query, key, value, *extras = inputs_of(x)
    masked, dropped = x.attributes["masked"], x.attributes["dropped"]
    mask, _ = extras_of(extras, masked, dropped)
    size = query.dtype.itemsize
    return Geometry(
        batch=query.shape[0],
        heads=query.shape[1],
        shared=key.shape[1],
        queries=query.shape[2],
        keys=key.shape[2],
        features=query.shape[3],
        value_features=value.shape[3],
        causal=x.attributes["causal"],
        scale=x.attributes["scale"],
        element="float" if query.dtype == np.float32 else "double",
        lanes=target.lanes(size),
        tile_rows=target.matmul_rows,
        tile_vectors=target.matmul_vectors,
        masked="" if mask is None else "keys" if mask.shape[2] == 1 else "pairs",
        dropped=dropped,
    )


def flops(x: Instruction, geometry: Geometry) -> float:
    """Multiplications and additions of its products together."""
    first, second = geometry.features, geometry.value_features
    each = 3 * first + 2 * second if x.op is BACKWARD else first + second
    return 2.0 * geometry.pairs * each
