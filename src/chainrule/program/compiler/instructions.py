"""The compiler's own form of a graph: tensors, the instructions that make them, and blocks.

A Graph's nodes serve users; passes want something they may change. A block is a straight list of
instructions; control ops hold blocks of their own in ``bodies``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.ops.origin import Origin
from chainrule.ops.record import Op, Shape


class Tensor:
    """One value: a block's input, a constant, or a result of an instruction.

    Args:
        shape: Its shape.
        dtype: Its element type.
        producer: The instruction that makes it; None for inputs and constants.
        constant: Its value, if it is a constant.
        name: What to call it in listings (a slot's path).
    """

    __slots__ = ("constant", "dtype", "name", "producer", "shape")

    def __init__(
        self,
        shape: Shape,
        dtype: Any,
        producer: Instruction | None = None,
        *,
        constant: np.ndarray | None = None,
        name: str = "",
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.producer = producer
        self.constant = constant
        self.name = name

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Number of bytes."""
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"{self.name or 'tensor'}:{self.dtype}{list(self.shape)}"


class Instruction:
    """One application of a primitive op.

    Args:
        op: The op's record.
        operands: Tensors read, in order, repeats included.
        attributes: Static arguments of the op; subgraphs of control ops are in ``bodies`` instead.
        specs: ``(shape, dtype)`` of each result.
        origin: Where the user wrote it.
        bodies: Blocks of a control op, by attribute name.
    """

    __slots__ = ("attributes", "bodies", "op", "operands", "origin", "results")

    def __init__(
        self,
        op: Op,
        operands: Sequence[Tensor],
        attributes: dict[str, Any],
        specs: Sequence[tuple[Shape, Any]],
        origin: Origin,
        bodies: dict[str, Block] | None = None,
    ) -> None:
        self.op = op
        self.operands = list(operands)
        self.attributes = attributes
        self.origin = origin
        self.bodies = bodies or {}
        self.results = [Tensor(shape, dtype, self) for shape, dtype in specs]

    @property
    def result(self) -> Tensor:
        """The only result."""
        (only,) = self.results
        return only

    def __repr__(self) -> str:
        return f"{self.results} = {self.op.name}({self.operands})"


class Block:
    """A closed list of instructions: operands before users.

    Args:
        inputs: Tensors that come from outside.
        instructions: In an order in which they can run.
        outputs: Tensors that leave; the same one may leave several times.
    """

    __slots__ = ("inputs", "instructions", "outputs")

    def __init__(
        self,
        inputs: Sequence[Tensor],
        instructions: Sequence[Instruction],
        outputs: Sequence[Tensor],
    ) -> None:
        self.inputs = list(inputs)
        self.instructions = list(instructions)
        self.outputs = list(outputs)

    def users(self) -> dict[Tensor, list[Instruction]]:
        """Who reads each tensor within this block; an instruction once an operand."""
        table: dict[Tensor, list[Instruction]] = {}
        for instruction in self.instructions:
            for operand in instruction.operands:
                table.setdefault(operand, []).append(instruction)
        return table

    def constants(self) -> Iterator[Tensor]:
        """The constants that are read or leave, each once, in order of use."""
        seen: set[Tensor] = set()
        read = [x for i in self.instructions for x in i.operands]
        for tensor in [*read, *self.outputs]:
            if tensor.constant is not None and tensor not in seen:
                seen.add(tensor)
                yield tensor

    def __str__(self) -> str:
        return listing(self)


def listing(block: Block, indent: str = "") -> str:
    """The block as text: ``%3 = add(%1, %2)  float32[4, 5]``; numbers count from the top."""
    numbers: dict[Tensor, str] = {}

    def name(tensor: Tensor) -> str:
        if tensor.constant is not None and tensor.constant.ndim == 0:
            return f"{tensor.constant[()]!s}"
        return numbers.setdefault(tensor, f"%{len(numbers)}")

    def spec(tensor: Tensor) -> str:
        return f"{tensor.dtype}{list(tensor.shape)}"

    lines = [f"{indent}inputs {', '.join(f'{name(x)}: {spec(x)}' for x in block.inputs)}"]
    for instruction in block.instructions:
        operands = [name(x) for x in instruction.operands]
        operands += [f"{key}={value}" for key, value in instruction.attributes.items()]
        results = ", ".join(name(x) for x in instruction.results)
        specs = ", ".join(spec(x) for x in instruction.results)
        lines.append(f"{indent}{results} = {instruction.op.name}({', '.join(operands)})  {specs}")
        for key, body in instruction.bodies.items():
            lines += [f"{indent}  {key}:", listing(body, indent + "    ")]
    lines.append(f"{indent}return {', '.join(name(x) for x in block.outputs)}")
    return "\n".join(lines)
