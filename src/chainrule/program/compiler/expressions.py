"""What is computed for one element: expression trees over loads at indices.

A kernel is a loop nest around expressions. They compare by value, so that a kernel computes equal
ones once, and know the axes that they depend on, so that it computes them no deeper than needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.program.compiler.indices import Axis, Index
from chainrule.program.compiler.instructions import Tensor


class Expression:
    """One node of a tree.

    Args:
        dtype: Element type of the value.
        arguments: The expressions that it is computed from.
        key: What else makes it up, hashable; part of its identity.
        axes: The loop axes that it depends on itself, beside its arguments'.
    """

    __slots__ = ("_hash", "arguments", "axes", "dtype", "key")

    def __init__(
        self,
        dtype: Any,
        arguments: tuple[Expression, ...] = (),
        key: tuple[Any, ...] = (),
        axes: frozenset[Axis] = frozenset(),
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.arguments = arguments
        self.key = key
        self.axes: frozenset[Axis] = axes.union(*(a.axes for a in arguments))
        self._hash = hash((type(self).__name__, self.dtype, arguments, key))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(self) is type(other)
            and isinstance(other, Expression)
            and self._hash == other._hash
            and self.dtype == other.dtype
            and self.key == other.key
            and self.arguments == other.arguments
        )

    def __hash__(self) -> int:
        return self._hash

    def substitute(self, table: Mapping[Axis, Index]) -> Expression:
        """The expression with other indices in the place of axes."""
        if not any(axis in table for axis in self.axes):
            return self
        return self._substituted(table, tuple(a.substitute(table) for a in self.arguments))

    def _substituted(
        self, table: Mapping[Axis, Index], arguments: tuple[Expression, ...]
    ) -> Expression:
        raise NotImplementedError

    def walk(self) -> Iterator[Expression]:
        """The tree's nodes, each distinct one once, arguments before users."""
        seen: set[Expression] = set()
        stack: list[tuple[Expression, bool]] = [(self, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((a, False) for a in reversed(node.arguments))


class Constant(Expression):
    """A number."""

    __slots__ = ()

    def __init__(self, value: Any, dtype: Any) -> None:
        number = np.asarray(value, dtype=dtype)[()]
        # by bytes, so that 0.0 and -0.0 differ and NaN equals itself
        super().__init__(dtype, (), (number.tobytes(),))

    @property
    def value(self) -> Any:
        """The number as a NumPy scalar."""
        return np.frombuffer(self.key[0], dtype=self.dtype)[0]

    def __repr__(self) -> str:
        return str(self.value)


class Load(Expression):
    """An element of a tensor in memory, read only where the guard (if any) holds."""

    __slots__ = ()

    def __init__(
        self, tensor: Tensor, indices: tuple[Index, ...], guard: Expression | None = None
    ) -> None:
        axes: frozenset[Axis] = frozenset()
        for index in indices:
            axes |= index.axes
        super().__init__(tensor.dtype, (guard,) if guard else (), (tensor, indices), axes)

    @property
    def tensor(self) -> Tensor:
        """What is read."""
        tensor: Tensor = self.key[0]
        return tensor

    @property
    def indices(self) -> tuple[Index, ...]:
        """Where it is read."""
        indices: tuple[Index, ...] = self.key[1]
        return indices

    @property
    def guard(self) -> Expression | None:
        """The condition under which the place exists."""
        return self.arguments[0] if self.arguments else None

    def _substituted(
        self, table: Mapping[Axis, Index], arguments: tuple[Expression, ...]
    ) -> Expression:
        indices = tuple(i.substitute(table) for i in self.indices)
        return Load(self.tensor, indices, arguments[0] if arguments else None)

    def __repr__(self) -> str:
        return f"{self.tensor.name or 'tensor'}{list(self.indices)}"


class Apply(Expression):
    """An elementwise op on values: by the name that the op's record has."""

    __slots__ = ()

    def __init__(self, op: str, arguments: tuple[Expression, ...], dtype: Any) -> None:
        super().__init__(dtype, arguments, (op,))

    @property
    def op(self) -> str:
        """The op's name."""
        name: str = self.key[0]
        return name

    def _substituted(
        self, table: Mapping[Axis, Index], arguments: tuple[Expression, ...]
    ) -> Expression:
        return Apply(self.op, arguments, self.dtype)

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(map(repr, self.arguments))})"


class IndexValue(Expression):
    """An index as a number."""

    __slots__ = ()

    def __init__(self, index: Index, dtype: Any = np.int64) -> None:
        super().__init__(dtype, (), (index,), index.axes)

    @property
    def index(self) -> Index:
        """The index."""
        index: Index = self.key[0]
        return index

    def _substituted(
        self, table: Mapping[Axis, Index], arguments: tuple[Expression, ...]
    ) -> Expression:
        return IndexValue(self.index.substitute(table), self.dtype)

    def __repr__(self) -> str:
        return f"({self.index!r})"


class Within(Expression):
    """True where ``low <= index < high``."""

    __slots__ = ()

    def __init__(self, index: Index, low: int, high: int) -> None:
        super().__init__(np.bool_, (), (index, low, high), index.axes)

    @property
    def parts(self) -> tuple[Index, int, int]:
        """Index, low, high."""
        index, low, high = self.key
        return index, low, high

    def _substituted(
        self, table: Mapping[Axis, Index], arguments: tuple[Expression, ...]
    ) -> Expression:
        index, low, high = self.parts
        return Within(index.substitute(table), low, high)

    def __repr__(self) -> str:
        index, low, high = self.parts
        return f"({low} <= {index!r} < {high})"


class Local(Expression):
    """A value that the kernel holds in a register: a finished reduction, a product's sum."""

    __slots__ = ()

    def __init__(self, tensor: Tensor, axes: frozenset[Axis] = frozenset()) -> None:
        super().__init__(tensor.dtype, (), (tensor,), axes)

    @property
    def tensor(self) -> Tensor:
        """Whose value it is."""
        tensor: Tensor = self.key[0]
        return tensor

    def _substituted(
        self, table: Mapping[Axis, Index], arguments: tuple[Expression, ...]
    ) -> Expression:
        axes: frozenset[Axis] = frozenset()
        for axis in self.axes:
            axes |= table[axis].axes if axis in table else frozenset((axis,))
        return Local(self.tensor, axes)

    def __repr__(self) -> str:
        return f"local({self.tensor!r})"


class RandomWord(Expression):
    """Word ``lane`` of a Philox block: of key words, counter words and the number of the block.

    Args:
        arguments: key word 0, key word 1, counter words 0 to 3, all uint32.
        index: Which of the four words.
    """

    __slots__ = ()

    def __init__(self, arguments: tuple[Expression, ...], word: Index) -> None:
        super().__init__(np.uint32, arguments, (word,), word.axes)

    @property
    def word(self) -> Index:
        """Which of the four words, 0 to 3."""
        word: Index = self.key[0]
        return word

    def _substituted(
        self, table: Mapping[Axis, Index], arguments: tuple[Expression, ...]
    ) -> Expression:
        return RandomWord(arguments, self.word.substitute(table))

    def __repr__(self) -> str:
        return f"philox({', '.join(map(repr, self.arguments))})[{self.word!r}]"


def both(a: Expression | None, b: Expression | None) -> Expression | None:
    """The condition that both hold; None stands for always."""
    if a is None or b is None:
        return a or b
    return a if a == b else Apply("bitwise_and", (a, b), np.bool_)
