"""The interpreter: replays a graph op by op with NumPy. The reference for every other engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.execution import run_op
from chainrule.graph import Graph, Node


class Instruction(NamedTuple):
    """One op of the plan.

    Args:
        node: What to evaluate.
        operands: Registers that it reads.
        results: Registers that it fills.
        last_uses: Registers that nobody reads afterwards: their memory is given back.
    """

    node: Node
    operands: tuple[int, ...]
    results: tuple[int, ...]
    last_uses: tuple[int, ...]


class Plan:
    """A graph flattened to instructions over numbered registers; constants are folded once.

    Args:
        graph: What to run.
    """

    def __init__(self, graph: Graph) -> None:
        self._registers: dict[tuple[Node, int], int] = {}
        for x in graph.inputs:
            self._register(x.node, x.index)
        self.n_inputs = len(graph.inputs)
        self._constants: dict[int, np.ndarray] = {}
        self.instructions: list[Instruction] = []
        self._build(graph)
        self._outputs = [self._register(x.node, x.index) for x in graph.outputs]
        self._free_early()

    @property
    def n_instructions(self) -> int:
        """How many ops a run evaluates."""
        return len(self.instructions)

    def _register(self, node: Node, index: int) -> int:
        return self._registers.setdefault((node, index), len(self._registers))

    def _build(self, graph: Graph) -> None:
        """List the nodes; those that depend on no input are evaluated now."""
        with np.errstate(all="ignore"):
            for node in graph.nodes:
                results = tuple(self._register(node, i) for i in range(len(node.specs)))
                if node.values is not None:
                    for number, buffer in zip(results, node.values, strict=True):
                        self._constants[number] = buffer.data
                    continue
                operands = tuple(self._register(x.node, x.index) for x in node.inputs)
                if all(number in self._constants for number in operands):
                    values = run_op(node, [self._constants[number] for number in operands])
                    self._constants.update(zip(results, values, strict=True))
                else:
                    self.instructions.append(Instruction(node, operands, results, ()))

    def _free_early(self) -> None:
        """Find, for every instruction, the registers that nobody reads after it."""
        kept = set(self._outputs) | set(self._constants) | set(range(self.n_inputs))
        seen = set(kept)
        for position in range(len(self.instructions) - 1, -1, -1):
            instruction = self.instructions[position]
            touched = dict.fromkeys((*instruction.operands, *instruction.results))
            last = tuple(number for number in touched if number not in seen)
            seen.update(last)
            self.instructions[position] = instruction._replace(last_uses=last)

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Evaluate the outputs; nothing that was passed in is changed.

        Args:
            values: One array an input.
        """
        registers = self._start(values)
        with np.errstate(all="ignore"):
            for node, operands, results, last_uses in self.instructions:
                produced = run_op(node, [registers[number] for number in operands])
                for number, value in zip(results, produced, strict=True):
                    registers[number] = value
                for number in last_uses:
                    registers[number] = None
        return [np.asarray(registers[number]) for number in self._outputs]

    def first_non_finite(self, values: Sequence[np.ndarray]) -> tuple[Node, np.ndarray] | None:
        """Run again, and stop at the first node whose floating result is not finite.

        Returns:
            The node and its value, or None if all is finite.
        """
        registers = self._start(values)
        with np.errstate(all="ignore"):
            for node, operands, results, _ in self.instructions:
                produced = run_op(node, [registers[number] for number in operands])
                for number, value in zip(results, produced, strict=True):
                    registers[number] = value
                    value = np.asarray(value)
                    if value.dtype.kind in "fV" and not np.isfinite(value).all():
                        return node, value
        return None

    def _start(self, values: Sequence[np.ndarray]) -> list[Any]:
        registers: list[Any] = [None] * len(self._registers)
        registers[: self.n_inputs] = values
        for number, value in self._constants.items():
            registers[number] = value
        return registers
