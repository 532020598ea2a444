"""Functions of kernels: where the elements lie that they touch, and their text in a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.program.compiler.batches import MANY
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.indices import Index, ravel
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.layouts import Layout
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module


class KernelWriter:
    """Writes kernels' functions into a module, each different one once.

    Args:
        module: Takes the functions.
        checked: Check that every access lies inside its tensor's memory.
    """

    def __init__(self, module: Module, *, checked: bool = False) -> None:
        self.checked = checked
        self.module = module
        self.blamed: list[Instruction] = []
        self.aliases: dict[Tensor, Tensor] = {}
        self.layouts: dict[Tensor, Layout] = {}
        self._texts: dict[str, str] = {}

    def offset(self, tensor: Tensor, indices: tuple[Index, ...]) -> Index:
        """Number of an element in its tensor's memory."""
        layout = self.layouts.get(self.root(tensor))
        return ravel(indices, tensor.shape) if layout is None else layout.offset(indices)

    def bytes_of(self, tensor: Tensor) -> int:
        """Bytes of a tensor's memory."""
        layout = self.layouts.get(tensor)
        return tensor.bytes if layout is None else layout.size * tensor.dtype.itemsize

    def _extent(self, tensor: Tensor) -> int | None:
        """Elements of a tensor's memory; None of a data set, whose length the caller checks."""
        if tensor.shape[:1] == (MANY,) or tensor.name == "order":
            return None
        return self.bytes_of(self.root(tensor)) // tensor.dtype.itemsize

    def root(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory a tensor lies in."""
        while tensor in self.aliases:
            tensor = self.aliases[tensor]
        return tensor

    @property
    def next_name(self) -> str:
        """The name of the function that is written next."""
        return f"kernel{len(self._texts)}"

    def function(
        self,
        pointers: Sequence[Tensor],
        blames: list[int],
        emit: Callable[[Builder, Memory, Value, Value], None],
    ) -> str:
        """Write a kernel's function; one that has been written before is used again.

        Its parameters are the tensors' addresses, the error word, the first of the numbers of
        instructions to blame for bad indices, and the range of tasks.

        Args:
            pointers: Tensors that it touches.
            blames: Takes the numbers of instructions to blame for bad indices.
            emit: Writes the body, given the builder, the memory, and the range of tasks.

        Returns:
            The function's name.
        """
        name = self.next_name
        parameters = [("ptr", f"p{i}") for i in range(len(pointers))]
        parameters += [("ptr", "error"), ("ptr", "blames"), ("i64", "begin"), ("i64", "end")]
        b = Builder(self.module, name, parameters)
        table = dict(zip(pointers, b.parameters, strict=False))
        numbers: dict[Instruction, int] = {}

        def blame(instruction: Instruction) -> Value:
            if instruction not in numbers:
                numbers[instruction] = len(numbers)
                blames.append(self._blame(instruction) + 1)
            return b.load("i64", b.offset(b.parameters[-3], numbers[instruction], "i64"))

        extent = self._extent if self.checked else None
        memory = Memory(table.__getitem__, self.offset, blame, b.parameters[-4], extent)
        emit(b, memory, b.parameters[-2], b.parameters[-1])
        b.finish()
        text = self.module.function_text(name)
        shape = text.replace(f"@{name}(", "@(", 1)
        known = self._texts.setdefault(shape, name)
        if known != name:
            self.module.remove_function(name)
        return known

    def _blame(self, instruction: Instruction) -> int:
        if instruction not in self.blamed:
            self.blamed.append(instruction)
        return self.blamed.index(instruction)
