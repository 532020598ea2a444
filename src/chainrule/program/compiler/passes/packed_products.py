"""Products over the steps and rows of a batch of which only some count.

A gradient of weights is a sum over all rows of all steps. Where a loop has a bound on its rows, it
is a loop over blocks of the rows that count, gathered one behind the other, and blocks without any
are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.lifting import Lifter
from chainrule.program.compiler.passes.rewriting import constant
from chainrule.program.compiler.passes.row_bounds import bound_by

ROWS = 256  # of a block: the depth from which a product reaches its speed

Axes = tuple[tuple[int, ...], ...]


def is_packable(product: Instruction) -> bool:
    """True for the product of two matrices, summed over their rows, which are a batch's."""
    a, b = product.operands
    contract, batch = product.attributes["contract"], product.attributes["batch"]
    return len(a.shape) == len(b.shape) == 2 and contract == ((0,), (0,)) and batch == ((), ())


def packed_product(
    lifter: Lifter, operands: Sequence[Tensor], contract: Axes, bound: Tensor, origin: Origin
) -> Tensor:
    """aᵀ·b over the rows that count.

    Args:
        lifter: Takes the instructions.
        operands: a and b, (steps, rows, ·).
        contract: Of the plain product: steps and rows.
        bound: Rows that count in each step, (steps,).
        origin: Of the instructions.
    """
    steps, rows = operands[0].shape[:2]
    if steps * rows < 2 * ROWS:
        return lifter.emit(
            "dot_general", *operands, origin=origin, contract=contract, batch=((), ())
        )
    return _loop(lifter, operands, _Packing(lifter, bound, steps, rows, origin), origin)


class _Packing:
    """Where the rows that count lie: for each place of the packed ones its step and row.

    Args:
        lifter: Takes the instructions.
        bound: Rows that count in each step.
        steps: How many steps there are.
        rows: How many rows a step has.
        origin: Of the instructions.
    """

    def __init__(
        self, lifter: Lifter, bound: Tensor, steps: int, rows: int, origin: Origin
    ) -> None:
        self.lifter = lifter
        self.origin = origin
        self.n_blocks = -(-steps * rows // ROWS)
        size = self.n_blocks * ROWS
        counts = self.emit("cast", bound, dtype=np.dtype(np.int64))
        ends = self.emit("cumsum", counts, axis=0)
        total = self.emit("sum", counts, axes=(0,))
        place = self.emit("iota", shape=(size, steps), axis=0, dtype=np.dtype(np.int64))
        wide = {"shape": (size, steps)}
        over = self.emit("less_equal", self.emit("broadcast_to", ends, **wide), place)
        step = self.emit("sum", self.emit("cast", over, dtype=np.dtype(np.int64)), axes=(1,))
        none = self.full(0, (size, steps))
        rest = self.emit("where", over, self.emit("broadcast_to", counts, **wide), none)
        first = self.emit("sum", rest, axes=(1,))
        place = self.emit("iota", shape=(size,), axis=0, dtype=np.dtype(np.int64))
        row = self.emit("subtract", place, first)
        counted = self.emit("less", step, self.full(steps, (size,)))
        # behind the last: a row that was computed, and does not count
        columns = [self.emit("where", counted, x, self.full(0, (size,))) for x in (step, row)]
        self.places = self.emit("concatenate", *map(self.of_blocks, columns), axis=2)
        self.counted = self.of_blocks(counted)
        begins = self.emit("iota", shape=(self.n_blocks,), axis=0, dtype=np.dtype(np.int64))
        begins = self.emit("multiply", begins, self.full(ROWS, (self.n_blocks,)))
        left = self.emit("broadcast_to", total, shape=(self.n_blocks,))
        self.counts = self.emit("subtract", left, begins)

    def emit(self, name: str, *operands: Tensor, **attributes: object) -> Tensor:
        """An instruction."""
        return self.lifter.emit(name, *operands, origin=self.origin, **attributes)

    def full(self, value: int, shape: tuple[int, ...]) -> Tensor:
        """Copies of a number."""
        return self.emit("broadcast_to", constant(np.asarray(value, np.int64)), shape=shape)

    def of_blocks(self, x: Tensor) -> Tensor:
        """A number for each row of each block, (blocks, rows of a block, 1)."""
        return self.emit("reshape", x, shape=(self.n_blocks, ROWS, 1))


def _loop(lifter: Lifter, operands: Sequence[Tensor], packing: _Packing, origin: Origin) -> Tensor:
    """The sum over the blocks."""
    shape = (operands[0].shape[2], operands[1].shape[2])
    dtype = operands[0].dtype
    zero = constant(np.zeros((), dtype))
    start = lifter.emit("broadcast_to", zero, origin=origin, shape=shape)
    outside = [packing.places, packing.counted, packing.counts]
    total = Tensor(shape, dtype)
    slices = places, counted, count = [Tensor(x.shape[1:], x.dtype) for x in outside]
    tables = [Tensor(x.shape, x.dtype) for x in operands]
    inner = Lifter(1, {})
    a, b = (inner.emit("gather", x, places, origin=origin) for x in tables)
    mask = inner.emit("broadcast_to", counted, origin=origin, shape=a.shape)
    none = inner.emit("broadcast_to", zero, origin=origin, shape=a.shape)
    a = inner.emit("where", mask, a, none, origin=origin)
    product = inner.emit("dot_general", a, b, origin=origin, contract=((0,), (0,)), batch=((), ()))
    result = inner.emit("add", total, product, origin=origin)
    body = Block([total, *slices, *tables], [*inner.made, bound_by(count, origin)], [result])
    scan = Instruction(
        REGISTRY["scan"],
        [start, *outside, *operands],
        {"n_carry": 1, "n_xs": 3, "length": packing.n_blocks, "reverse": False},
        [(shape, dtype)],
        origin,
        {"body": body},
    )
    lifter.made.append(scan)
    return scan.results[0]
