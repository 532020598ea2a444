"""Evaluation of a block with NumPy, op by op: what tests and constant folding ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import IndexRangeError
from chainrule.program.compiler.instructions import Block, Instruction, Tensor


class _Body:
    """A block in the shape in which a control op's evaluation takes its graphs."""

    def __init__(self, block: Block) -> None:
        self.inputs = block.inputs
        self.outputs = block.outputs
        self._block = block

    def evaluate(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        return evaluate_block(self._block, values)


def evaluate_block(block: Block, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run the block on ``values``, one array an input; returns one array an output.

    Raises:
        IndexRangeError: An index is outside its axis; the error names the instruction's origin.
    """
    known: dict[Tensor, np.ndarray] = dict(zip(block.inputs, values, strict=True))

    def value(x: Tensor) -> np.ndarray:
        return known[x] if x.constant is None else x.constant

    with np.errstate(all="ignore"):
        for instruction in block.instructions:
            results = evaluate_instruction(instruction, [value(x) for x in instruction.operands])
            known.update(zip(instruction.results, results, strict=True))
    return [np.asarray(value(x)) for x in block.outputs]


def evaluate_instruction(
    instruction: Instruction, operands: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Evaluate one instruction on NumPy arrays."""
    bodies: dict[str, Any] = {key: _Body(body) for key, body in instruction.bodies.items()}
    try:
        result = instruction.op.evaluate(*operands, **instruction.attributes, **bodies)
    except IndexError as error:
        raise IndexRangeError(str(error), where=str(instruction.origin)) from None
    return tuple(result) if instruction.op.multiple else (result,)
