"""Rewriting: one walk over a block that offers every instruction to a table of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY, Shape
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.walking import every_block, replace


class Rewriter:
    """A walk over one block.

    A rule gets the walk and an instruction of one result whose operands were rewritten already; it
    returns the tensor to take in the place of the result, or None. What a rule emits is offered to
    the rules at once, so they must come to an end: each rule makes its instruction simpler.

    Args:
        block: The block; changed in place by ``run``.
        rules: Rules by name of op, in the order in which they are tried.
    """

    def __init__(self, block: Block, rules: Mapping[str, Sequence[Rule]]) -> None:
        self.block = block
        self.rules = rules
        self.changed = False
        self.origin: Origin
        self._kept: list[Instruction] = []
        self._uses: dict[Tensor, int] | None = None
        self._other: dict[Tensor, Tensor] = {}

    def run(self) -> bool:
        """Walk the block; return whether anything changed."""
        other = self._other
        for instruction in self.block.instructions:
            if other:
                instruction.operands = [other.get(x, x) for x in instruction.operands]
            self.origin = instruction.origin
            if instruction.op.multiple:
                self._kept.append(instruction)
                continue
            old = instruction.results[0]
            new = self._visit(instruction)
            if new is not old:
                other[old] = new
                if self._uses is not None:
                    self._uses[new] = self._uses.get(new, 0) + self._uses.get(old, 0)
        replace(self.block, self._kept, other)
        return self.changed

    def _visit(self, instruction: Instruction) -> Tensor:
        for rule in self.rules.get(instruction.op.name, ()):
            found = rule(self, instruction)
            if found is not None:
                self.changed = True
                return found
        self._kept.append(instruction)
        return instruction.results[0]

    def emit(self, name: str, *operands: Tensor, **attributes: Any) -> Tensor:
        """Append an op of one result, or what the rules make of it; return its result."""
        op = REGISTRY[name]
        spec = op.infer(*operands, **attributes)
        return self._visit(Instruction(op, operands, attributes, [spec], self.origin))

    def fill(self, value: Any, shape: Shape, dtype: np.dtype[Any]) -> Tensor:
        """Copies of one number."""
        scalar = constant(np.asarray(value, dtype))
        return self.emit("broadcast_to", scalar, shape=shape) if shape else scalar

    def uses(self, x: Tensor) -> int:
        """How often ``x`` is read in the block or leaves it; 0 for what a rule has just made."""
        if self._uses is None:
            table: dict[Tensor, int] = {}
            for instruction in self.block.instructions:
                for operand in instruction.operands:
                    operand = self._other.get(operand, operand)
                    table[operand] = table.get(operand, 0) + 1
            for output in self.block.outputs:
                output = self._other.get(output, output)
                table[output] = table.get(output, 0) + 1
            self._uses = table
        return self._uses.get(x, 0)


Rule: TypeAlias = Callable[[Rewriter, Instruction], Tensor | None]


def rewrite(block: Block, rules: Mapping[str, Sequence[Rule]]) -> bool:
    """Walk the block and its bodies once; return whether anything changed."""
    changed = False
    for each in every_block(block):
        changed |= Rewriter(each, rules).run()
    return changed


def table(*pairs: tuple[str, Rule]) -> dict[str, list[Rule]]:
    """Rules by op, from pairs of op names (several between spaces) and a rule."""
    rules: dict[str, list[Rule]] = {}
    for names, rule in pairs:
        for name in names.split():
            rules.setdefault(name, []).append(rule)
    return rules


def elementwise_names() -> str:
    """Names of all elementwise ops that may be moved and merged: not ``barrier``."""
    return " ".join(
        op.name for op in REGISTRY if op.family == "elementwise" and op.name != "barrier"
    )


def constant(value: np.ndarray) -> Tensor:
    """A constant tensor."""
    return Tensor(value.shape, value.dtype, constant=value)


def made_by(x: Tensor, name: str) -> Instruction | None:
    """The instruction that makes ``x``, if it is of this op."""
    producer = x.producer
    return producer if producer is not None and producer.op.name == name else None


def copied(x: Tensor) -> Tensor | None:
    """What ``x`` holds copies of, if it is made by ``broadcast_to``."""
    producer = x.producer
    if producer is not None and producer.op.name == "broadcast_to":
        return producer.operands[0]
    return None


def uniform(x: Tensor) -> Any:
    """The number that all elements of ``x`` are known to be, as a NumPy scalar, or None."""
    source = x
    producer = x.producer
    if producer is not None:
        if producer.op.name != "broadcast_to":
            return None
        source = producer.operands[0]
    value = source.constant
    if value is None or value.size != 1:
        return None
    return value.reshape(())[()]


def is_constant(x: Tensor) -> bool:
    """A constant, or copies of one."""
    if x.constant is not None:
        return True
    source = copied(x)
    return source is not None and source.constant is not None
