"""Mini-batches inside native code: an input that is rows of a data array, read where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.ops.origin import Origin
from chainrule.ops.record import Op, Spec
from chainrule.program.compiler.instructions import Block, Instruction, Tensor

MANY = 1 << 31  # stands for the unknown number of samples


def _infer(data: Any, order: Any) -> Spec:
    return (*order.shape, *data.shape[1:]), data.dtype


def _evaluate(data: np.ndarray, order: np.ndarray) -> np.ndarray:
    return data[order]


BATCH_ROWS = Op(
    name="batch_rows",
    family="indexing",
    arity=2,
    infer=_infer,
    evaluate=_evaluate,
    vjp=None,
    nondifferentiable=True,
    batch=_evaluate,
)
"""``data[order]``, with sample numbers that were checked before the program was started."""


def gather_batches(block: Block, batch: Sequence[int]) -> Tensor:
    """Replace inputs by rows of data arrays; return the new last input, the sample numbers."""
    size = block.inputs[batch[0]].shape[0] if batch else 0
    order = Tensor((size,), np.int64, name="order")
    table: dict[Tensor, Tensor] = {}
    made = []
    for number in batch:
        x = block.inputs[number]
        data = Tensor((MANY, *x.shape[1:]), x.dtype, name=x.name)
        gathered = Instruction(
            BATCH_ROWS, [data, order], {}, [(x.shape, x.dtype)], Origin("", 0, "", 0)
        )
        table[x] = gathered.result
        block.inputs[number] = data
        made.append(gathered)
    for instruction in block.instructions:
        instruction.operands = [table.get(x, x) for x in instruction.operands]
    block.outputs = [table.get(x, x) for x in block.outputs]
    block.instructions = [*made, *block.instructions]
    block.inputs.append(order)
    return order
