"""Walks over a block and the blocks inside it, for the passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chainrule.program.compiler.instructions import Block, Instruction, Tensor


def every_block(block: Block) -> Iterator[Block]:
    """The block and, at any depth, the bodies of its control ops."""
    pending = [block]
    while pending:
        current = pending.pop()
        yield current
        for instruction in current.instructions:
            if instruction.bodies:
                pending.extend(instruction.bodies.values())


def count_instructions(block: Block) -> int:
    """How many instructions the block has, those of its bodies included."""
    return sum(len(each.instructions) for each in every_block(block))


def needed(block: Block, outputs: Iterable[Tensor]) -> set[Tensor]:
    """All tensors of the block that ``outputs`` depend on, those themselves included."""
    live = set(outputs)
    for instruction in reversed(block.instructions):
        if not live.isdisjoint(instruction.results):
            live.update(instruction.operands)
    return live


def replace(block: Block, instructions: list[Instruction], other: dict[Tensor, Tensor]) -> None:
    """Give the block new instructions, and its outputs what took the place of theirs."""
    block.instructions = instructions
    block.outputs = [other.get(x, x) for x in block.outputs]
