"""Index arithmetic: where an element lies, as a sum of multiples of loop counters.

Movement ops cost nothing because they only change how their operand is indexed. An ``Index`` is
``constant + sum(coefficient * atom)``; the atoms are loop axes, quotients and remainders of other
indices (which reshapes leave), and numbers that are looked up in data. Ranges are known, so most
quotients and remainders fold away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Atom = Any  # Axis | Quotient | Remainder | Lookup


class Axis:
    """A loop counter that runs from 0 to ``extent - 1``; axes compare by identity."""

    __slots__ = ("extent", "name")

    def __init__(self, extent: int, name: str = "") -> None:
        self.extent = extent
        self.name = name

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value."""
        return 0, max(self.extent - 1, 0)

    @property
    def axes(self) -> frozenset[Axis]:
        """The axes that the value depends on: itself."""
        return frozenset((self,))

    def __repr__(self) -> str:
        return self.name or f"axis{self.extent}"


class _Division:
    """A quotient or remainder of an index by a positive number, rounded down."""

    __slots__ = ("_hash", "axes", "divisor", "index", "range")

    def __init__(self, index: Index, divisor: int) -> None:
        self.index = index
        self.divisor = divisor
        self.axes = index.axes
        self.range = self._range()
        self._hash = hash((type(self).__name__, index, divisor))

    def _range(self) -> tuple[int, int]:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(self) is type(other)
            and isinstance(other, _Division)
            and self.divisor == other.divisor
            and self.index == other.index
        )

    def __hash__(self) -> int:
        return self._hash


class Quotient(_Division):
    """``index // divisor``."""

    __slots__ = ()

    def _range(self) -> tuple[int, int]:
        low, high = self.index.range
        return low // self.divisor, high // self.divisor

    def __repr__(self) -> str:
        return f"({self.index!r})//{self.divisor}"


class Remainder(_Division):
    """``index % divisor``."""

    __slots__ = ()

    def _range(self) -> tuple[int, int]:
        return 0, self.divisor - 1

    def __repr__(self) -> str:
        return f"({self.index!r})%{self.divisor}"


class Lookup:
    """A number taken from data: an expression of integer type, known to lie in a range.

    Args:
        expression: The integer expression (see ``expressions``); it has ``axes``.
        extent: The value must lie in 0 to ``extent - 1``; kernels check it.
        source: The instruction to blame where it does not.
    """

    __slots__ = ("_hash", "axes", "expression", "extent", "source")

    def __init__(self, expression: Any, extent: int, source: Any = None) -> None:
        self.expression = expression
        self.extent = extent
        self.source = source
        self.axes: frozenset[Axis] = expression.axes
        self._hash = hash(("lookup", expression, extent))

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value."""
        return 0, max(self.extent - 1, 0)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Lookup)
            and self.extent == other.extent
            and self.expression == other.expression
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"[{self.expression!r}]"


class Index:
    """``constant + sum(coefficient * atom)``; immutable, compared by value."""

    __slots__ = ("_hash", "_range", "axes", "constant", "terms")

    def __init__(self, terms: Mapping[Atom, int] | None = None, constant: int = 0) -> None:
        self.terms: dict[Atom, int] = {a: c for a, c in (terms or {}).items() if c}
        self.constant = constant
        axes: frozenset[Axis] = frozenset()
        for atom in self.terms:
            axes |= atom.axes
        self.axes = axes
        self._hash: int | None = None
        self._range: tuple[int, int] | None = None

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value, by interval arithmetic: never too narrow."""
        if self._range is None:
            low = high = self.constant
            for atom, coefficient in self.terms.items():
                a, b = atom.range
                low += min(a * coefficient, b * coefficient)
                high += max(a * coefficient, b * coefficient)
            self._range = low, high
        return self._range

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Index)
            and self.constant == other.constant
            and self.terms == other.terms
        )

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((self.constant, frozenset(self.terms.items())))
        return self._hash

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.terms, self.constant + other)
        terms = dict(self.terms)
        for atom, coefficient in other.terms.items():
            terms[atom] = terms.get(atom, 0) + coefficient
        return _join_divisions(terms, self.constant + other.constant)

    def __mul__(self, factor: int) -> Index:
        return Index({a: c * factor for a, c in self.terms.items()}, self.constant * factor)

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: Index | int) -> Index:
        return self + (-other)

    def __floordiv__(self, divisor: int) -> Index:
        if divisor == 0:  # an axis without elements: nobody asks where they are
            return ZERO
        whole, rest = self._split(divisor)
        low, high = rest.range
        if low // divisor == high // divisor:
            return whole + low // divisor
        if len(rest.terms) == 1 and rest.constant == 0:
            ((atom, coefficient),) = rest.terms.items()
            if coefficient == 1 and isinstance(atom, Quotient):
                return whole + atom.index // (atom.divisor * divisor)
        return whole + Index({Quotient(rest, divisor): 1})

    def __mod__(self, divisor: int) -> Index:
        if divisor == 0:
            return ZERO
        _, rest = self._split(divisor)
        low, high = rest.range
        if low // divisor == high // divisor:
            return rest - low // divisor * divisor
        return Index({Remainder(rest, divisor): 1})

    def _split(self, divisor: int) -> tuple[Index, Index]:
        """(q, r) with ``self == q * divisor + r``; r holds what the divisor does not divide."""
        whole = {a: c // divisor for a, c in self.terms.items() if c % divisor == 0}
        rest = {a: c for a, c in self.terms.items() if c % divisor}
        constant = self.constant % divisor
        return Index(whole, (self.constant - constant) // divisor), Index(rest, constant)

    def substitute(self, table: Mapping[Axis, Index]) -> Index:
        """The index with other indices in the place of axes."""
        if not any(axis in table for axis in self.axes):
            return self
        total = Index(None, self.constant)
        for atom, coefficient in self.terms.items():
            total = total + _substitute_atom(atom, table) * coefficient
        return total

    def as_integer(self) -> int | None:
        """The value, if it depends on nothing."""
        return None if self.terms else self.constant

    def as_axis(self) -> Axis | None:
        """The axis, if the index is just one."""
        atom = _only_atom(self)
        return atom if isinstance(atom, Axis) else None

    def __repr__(self) -> str:
        parts = [f"{c}*{a!r}" if c != 1 else repr(a) for a, c in self.terms.items()]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return "+".join(parts)


def _join_divisions(terms: dict[Atom, int], constant: int) -> Index:
    """Undo a division whose quotient and remainder meet again: ``x//c*c + x%c`` is x.

    Of the remainder of a quotient too: ``x//25*5 + x//5%5`` is x//5.
    """
    for atom, coefficient in list(terms.items()):
        if isinstance(atom, Remainder) and coefficient:
            quotient = _only_atom(atom.index // atom.divisor)
            if quotient is not None and terms.get(quotient) == coefficient * atom.divisor:
                del terms[quotient], terms[atom]
                return Index(terms, constant) + atom.index * coefficient
    return Index(terms, constant)


def _only_atom(index: Index) -> Atom | None:
    """The atom, if the index is just one."""
    if index.constant or len(index.terms) != 1:
        return None
    ((atom, coefficient),) = index.terms.items()
    return atom if coefficient == 1 else None


def _substitute_atom(atom: Atom, table: Mapping[Axis, Index]) -> Index:
    if isinstance(atom, Axis):
        return table.get(atom, Index({atom: 1}))
    if isinstance(atom, Quotient):
        return atom.index.substitute(table) // atom.divisor
    if isinstance(atom, Remainder):
        return atom.index.substitute(table) % atom.divisor
    return Index({Lookup(atom.expression.substitute(table), atom.extent, atom.source): 1})


def axis_index(axis: Axis) -> Index:
    """The axis as an index; an axis of extent 1 is 0."""
    return Index({axis: 1}) if axis.extent != 1 else ZERO


def integer(value: int) -> Index:
    """A constant index."""
    return Index(None, value)


ZERO = Index()


def ravel(indices: Iterable[Index], shape: Iterable[int]) -> Index:
    """The row-major number of an element."""
    total = ZERO
    for index, extent in zip(indices, shape, strict=True):
        total = total * extent + index
    return total


def unravel(flat: Index, shape: tuple[int, ...]) -> tuple[Index, ...]:
    """The indices of the element of a row-major number."""
    indices = []
    for position in reversed(range(len(shape))):
        extent = shape[position]
        indices.append(ZERO if extent == 1 else (flat if position == 0 else flat % extent))
        if extent != 1:
            flat = flat // extent
    return tuple(reversed(indices))
