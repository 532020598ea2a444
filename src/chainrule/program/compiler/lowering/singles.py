"""Instructions with a kernel of their own: what is neither an element's expression nor a fold.

Their operands and results lie in memory, row-major. Such a kernel is cut into tasks; a thread runs
a range of them by one call, so that work which all tasks have in common (walking the indices of a
scatter) is done once a thread. No bit of a result depends on how the tasks are shared out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value

if TYPE_CHECKING:
    from chainrule.program.compiler.emission.memory import Memory

Emit = Callable[[Builder, Instruction, "Memory", Value, Value, Value | None], None]


def _no_scratch(instruction: Instruction) -> int:
    return 0


def _every_operand(instruction: Instruction) -> list[Tensor]:
    return instruction.operands


@dataclass(frozen=True)
class Single:
    """How an op's kernel is made.

    Args:
        tasks: Number of tasks of an instruction; it depends on the instruction alone.
        emit: ``emit(builder, instruction, memory, begin, end, scratch)`` writes the tasks ``begin``
            to ``end - 1``; an empty range does nothing.
        scratch_bytes: Memory that the kernel needs beside its tensors, for all tasks together;
            where it is 0, ``scratch`` is None, else an address that is a multiple of 16.
        reads: The operands that the kernel reads from memory; the others need not be there.
    """

    tasks: Callable[[Instruction], int]
    emit: Emit
    scratch_bytes: Callable[[Instruction], int] = _no_scratch
    reads: Callable[[Instruction], list[Tensor]] = _every_operand


SINGLES: dict[str, Single] = {}


def single(
    name: str,
    tasks: Callable[[Instruction], int],
    scratch_bytes: Callable[[Instruction], int] = _no_scratch,
    reads: Callable[[Instruction], list[Tensor]] = _every_operand,
) -> Callable[[Emit], Emit]:
    """Register the function that emits the kernel of the op named; see ``Single``."""

    def register(function: Emit) -> Emit:
        SINGLES[name] = Single(tasks, function, scratch_bytes, reads)
        return function

    return register


def bounds(
    b: Builder, begin: Value, end: Value, chunk: int, total: int
) -> tuple[Value | int, Value | int]:
    """The part of 0 to ``total - 1`` that tasks of ``chunk`` elements each cover."""
    if chunk >= total:
        return 0, total
    stop = b.mul(end, b.i64(chunk))
    beyond = b.compare("sgt", stop, b.i64(total))
    return b.mul(begin, b.i64(chunk)), b.select(beyond, b.i64(total), stop)


def spans(
    b: Builder,
    start: Value | int,
    stop: Value | int,
    lanes: int,
    body: Callable[[Value, int], None],
) -> None:
    """Run ``body(first, lanes)`` over a range: whole vectors, then what is left in smaller ones.

    Args:
        start: First element.
        stop: One past the last.
        lanes: Lanes of a whole vector, a power of two.
        body: Handles ``lanes`` elements from ``first``.
    """
    if isinstance(start, int) and isinstance(stop, int):
        whole = start + max(stop - start, 0) // lanes * lanes
        if whole - start == lanes:
            body(b.i64(start), lanes)
        elif whole > start:
            with b.loop(start, whole, lanes) as loop:
                body(loop.index, lanes)
        while lanes > 1:
            lanes //= 2
            if stop - whole >= lanes:
                body(b.i64(whole), lanes)
                whole += lanes
        return
    first = b.i64(start) if isinstance(start, int) else start
    last = b.i64(stop) if isinstance(stop, int) else stop
    rest = b.binary("and", b.sub(last, first), b.i64(lanes - 1))
    middle = b.sub(last, rest)
    with b.loop(first, middle, lanes) as loop:
        body(loop.index, lanes)
    if lanes > 1:
        with b.loop(middle, last) as loop:
            body(loop.index, 1)
