"""Where a kernel finds its tensors."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.program.compiler.indices import Index
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.llvm.builder import Value

Offset = Callable[[Tensor, "tuple[Index, ...]"], Index]


class Memory:
    """Where a kernel finds its tensors.

    Args:
        pointers: Address of each tensor's first element.
        offset: Number of the element at given indices, counted from there.
        blame: Gives the number under which an instruction is reported for a bad index, above 0.
        error: Address of the error word.
        extent: Elements of a tensor's memory, None if unknown; given, every access is checked.
    """

    def __init__(
        self,
        pointers: Callable[[Tensor], Value],
        offset: Offset,
        blame: Callable[[Instruction], Value],
        error: Value,
        extent: Callable[[Tensor], int | None] | None = None,
    ) -> None:
        self.extent = extent
        self.pointers = pointers
        self.offset = offset
        self.blame = blame
        self.error = error
