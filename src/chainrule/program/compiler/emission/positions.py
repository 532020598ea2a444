"""Emission of positions: what an index is at the present counters of the loops around it.

One axis at a time may be vectorised: an index that depends on it has a value in every lane, for
consecutive counters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import ChainMap

from chainrule.program.compiler.expressions import Expression
from chainrule.program.compiler.indices import Atom, Axis, Index, Lookup, Quotient, Remainder
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of


class Positions(ABC):
    """Scopes of axes, and indices in them; each is computed once, as far out as its axes allow.

    Args:
        builder: Where to.
        lanes: Lanes of the vectorised axis's values.
    """

    def __init__(self, builder: Builder, lanes: int) -> None:
        self.b = builder
        self.lanes = lanes
        self.vector_axis: Axis | None = None
        self.counters: dict[Axis, Value] = {}
        self.depths: dict[Axis, int] = {}
        self._values: ChainMap[Expression, Value] = ChainMap()
        self._indices: ChainMap[Index, Value] = ChainMap()
        self._vectors: ChainMap[Index, Value] = ChainMap()

    @abstractmethod
    def lookup(self, atom: Lookup) -> Value:
        """The number that data holds."""

    # -- scopes -------------------------------------------------------------------------------

    def enter(self, axis: Axis, counter: Value, *, vectorised: bool = False) -> None:
        """Start a scope in which ``axis`` has a value (of lane 0, if it is vectorised)."""
        self.counters[axis] = counter
        self.depths[axis] = len(self.depths)
        if vectorised:
            self.vector_axis = axis
        self.push()

    def leave(self, axis: Axis) -> None:
        """End the scope of ``axis``: what was emitted in it is forgotten."""
        self.pop()
        del self.counters[axis], self.depths[axis]
        if self.vector_axis is axis:
            self.vector_axis = None

    def push(self) -> None:
        """Start a scope: a basic block that need not be run."""
        self._values = self._values.new_child()
        self._indices = self._indices.new_child()
        self._vectors = self._vectors.new_child()

    def pop(self) -> None:
        """End a scope."""
        self._values, self._indices = self._values.parents, self._indices.parents
        self._vectors = self._vectors.parents

    def spread(self, value: Value) -> Value:
        """A scalar in all lanes, where an axis is vectorised."""
        if self.vector_axis is None or lanes_of(value.type) == self.lanes:
            return value
        return self.b.splat(value, self.lanes)

    # -- indices ------------------------------------------------------------------------------

    def varies(self, index: Index) -> bool:
        """True if the index has another value in each lane."""
        return self.vector_axis in index.axes

    def is_multiple(self, index: Index, divisor: int) -> bool:
        """True if the index is a multiple of ``divisor`` at lane 0, which is one of ``lanes``."""
        if index.constant % divisor:
            return False
        return all(
            c % divisor == 0 or (a is self.vector_axis and self.lanes % divisor == 0)
            for a, c in index.terms.items()
        )

    def lane_stride(self, index: Index) -> int | None:
        """By how much the index grows from lane to lane; None if unevenly."""
        total = 0
        for atom, coefficient in index.terms.items():
            stride = self._atom_stride(atom)
            if stride is None:
                return None
            total += stride * coefficient
        return total

    def _atom_stride(self, atom: Atom) -> int | None:
        if self.vector_axis not in atom.axes:
            return 0
        if isinstance(atom, Axis):
            return 1
        if isinstance(atom, Quotient | Remainder):
            # a vector that starts at a multiple of its lanes stays within one block of them
            whole = atom.divisor % self.lanes == 0
            if (
                whole
                and self.lane_stride(atom.index) == 1
                and self.is_multiple(atom.index, self.lanes)
            ):
                return 0 if isinstance(atom, Quotient) else 1
        return None

    def index(self, index: Index) -> Value:
        """The index at lane 0, summed from the outermost axis inwards."""
        found = self._indices.get(index)
        if found is not None:
            return found
        ranked = sorted(index.terms.items(), key=lambda term: self._depth(term[0]))
        total = self.b.i64(0)
        known: dict[Atom, int] = {}
        position = 0
        while position < len(ranked):
            depth = self._depth(ranked[position][0])
            part = []
            while position < len(ranked) and self._depth(ranked[position][0]) == depth:
                part.append(ranked[position])
                position += 1
            known |= dict(part)
            prefix = Index(known)
            if prefix in self._indices:
                total = self._indices[prefix]
                continue
            for atom, coefficient in part:
                scaled = self.b.mul(self._atom(atom), self.b.i64(coefficient))
                total = self.b.add(total, scaled)
            self._indices[prefix] = total
        total = self.b.add(total, self.b.i64(index.constant))
        self._indices[index] = total
        return total

    def _depth(self, atom: Atom) -> int:
        return max((self.depths.get(a, 0) for a in atom.axes), default=-1)

    def _atom(self, atom: Atom) -> Value:
        if isinstance(atom, Axis):
            return self.counters[atom]
        if isinstance(atom, Lookup):
            return self.b.extract(self.lookup(atom), 0)
        key = Index({atom: 1})
        if key not in self._indices:
            value, divisor = self.index(atom.index), self.b.i64(atom.divisor)
            self._indices[key] = self._divide(value, divisor, atom)
        return self._indices[key]

    def _divide(self, value: Value, divisor: Value, atom: Quotient | Remainder) -> Value:
        wanted = "div" if isinstance(atom, Quotient) else "rem"
        low, high = atom.index.range
        if low >= 0:
            if high < 1 << 31:  # a multiplication by a 32-bit reciprocal is the cheapest
                narrow = self.b.convert("trunc", value, "i32")
                by = self.b.constant(narrow.type, int(atom.divisor))
                return self.b.convert("zext", self.b.binary("u" + wanted, narrow, by), "i64")
            return self.b.binary("u" + wanted, value, self._like(divisor, value))
        by = self._like(divisor, value)
        quotient = self.b.binary("sdiv", value, by)
        rest = self.b.binary("srem", value, by)
        below = self.b.compare("slt", rest, self.b.constant(value.type, 0))
        if wanted == "div":
            less = self.b.sub(quotient, self.b.constant(value.type, 1))
            return self.b.select(below, less, quotient)
        return self.b.select(below, self.b.add(rest, by), rest)

    def _like(self, scalar: Value, other: Value) -> Value:
        return self.b.splat(scalar, lanes_of(other.type))

    def number(self, index: Index) -> Value:
        """The index as a value: in all lanes if it varies over them."""
        if not self.varies(index):
            return self.index(index)
        found = self._vectors.get(index)
        if found is None:
            found = self._vectors[index] = self._index_vector(index)
        return found

    def _index_vector(self, index: Index) -> Value:
        stride = self.lane_stride(index)
        if stride is not None and not any(isinstance(a, Lookup) for a in index.terms):
            base = self.b.splat(self.index(index), self.lanes)
            steps = self.b.constants("i64", [stride * lane for lane in range(self.lanes)])
            return self.b.add(base, steps)
        total = self.b.splat(self.index(self._steady(index)), self.lanes)
        for atom, coefficient in index.terms.items():
            if self.vector_axis in atom.axes:
                value = self._atom_vector(atom)
                factor = self.b.constant(value.type, coefficient)
                total = self.b.add(total, self.b.mul(value, factor))
        return total

    def _steady(self, index: Index) -> Index:
        terms = {a: c for a, c in index.terms.items() if self.vector_axis not in a.axes}
        return Index(terms, index.constant)

    def _atom_vector(self, atom: Atom) -> Value:
        if isinstance(atom, Axis):
            return self.number(Index({atom: 1}))
        if isinstance(atom, Lookup):
            return self.spread(self.lookup(atom))
        value = self.number(atom.index)
        return self._divide(value, self.b.i64(atom.divisor), atom)
