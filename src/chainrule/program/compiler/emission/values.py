"""Emission of expressions: each distinct one once, as far out as its axes allow, in vector lanes.

One axis at a time may be vectorised: a value that depends on it is a vector over consecutive
counters, a value that does not is a scalar, spread where a vector is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.positions import Positions
from chainrule.program.compiler.expressions import (
    Apply,
    Constant,
    Expression,
    IndexValue,
    Load,
    Local,
    RandomWord,
    Within,
)
from chainrule.program.compiler.indices import Axis, Index, Lookup, Remainder
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm import arithmetic, philox
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of, vector
from chainrule.program.compiler.lowering.elements import lookups
from chainrule.program.compiler.table import OUT_OF_BOUNDS


class Emitter(Positions):
    """Emits expressions into a Builder.

    Args:
        builder: Where to.
        memory: Where tensors lie.
        lanes: Lanes of the vectorised axis's values.
    """

    def __init__(self, builder: Builder, memory: Memory, lanes: int) -> None:
        super().__init__(builder, lanes)
        self.memory = memory
        self.active = lanes
        self.locals: dict[Tensor, Value] = {}
        self.named: dict[Tensor, Expression] = {}
        self._needs: dict[Expression, frozenset[Tensor]] = {}

    # -- what does not depend on the axes to come -------------------------------------------------

    def hoist(self, expressions: Iterable[Expression], hidden: frozenset[Tensor]) -> None:
        """Emit now what does not depend on the axes still to come.

        Args:
            expressions: What the coming loop computes.
            hidden: Tensors that are written inside: their loads stay there.
        """
        pending = list(expressions)
        seen: set[Expression] = set()
        while pending:
            node = pending.pop()
            if node in seen or isinstance(node, Constant):
                continue
            seen.add(node)
            if self._is_ready(node, hidden):
                self.emit(node)
                continue
            pending += node.arguments
            if isinstance(node, Load):
                self._hoist_index(self.memory.offset(node.tensor, node.indices))
                for index in node.indices:
                    pending += lookups(index)
            elif isinstance(node, Local) and node.tensor in self.named:
                pending.append(self.named[node.tensor])

    def _is_ready(self, node: Expression, hidden: frozenset[Tensor]) -> bool:
        if any(axis not in self.counters for axis in node.axes):
            return False
        return all(t in self.locals for t in self._needed(node, hidden))

    def _needed(self, node: Expression, hidden: frozenset[Tensor]) -> frozenset[Tensor]:
        """Finished folds, and tensors written by this kernel, that a value depends on."""
        found = self._needs.get(node)
        if found is None:
            for part in node.walk():
                if part in self._needs:
                    continue
                needs = frozenset[Tensor]().union(*(self._needs[a] for a in part.arguments))
                if isinstance(part, Local):
                    named = self.named.get(part.tensor)
                    needs = (
                        frozenset((part.tensor,)) if named is None else self._needed(named, hidden)
                    )
                elif isinstance(part, Load) and part.tensor in hidden:
                    needs |= {part.tensor}
                if isinstance(part, Load | IndexValue | Within | RandomWord):
                    places = part.indices if isinstance(part, Load) else (part.key[0],)
                    for place in places:
                        for inner in lookups(place):
                            needs |= self._needed(inner, hidden)
                self._needs[part] = needs
            found = self._needs[node]
        return found

    def _hoist_index(self, index: Index) -> None:
        terms = {a: c for a, c in index.terms.items() if all(x in self.counters for x in a.axes)}
        if terms and not lookups(Index(terms)):
            self.index(Index(terms))

    # -- expressions --------------------------------------------------------------------------

    def emit(self, expression: Expression) -> Value:
        """The value: a vector if it depends on the vectorised axis, else a scalar."""
        found = self._values.get(expression)
        if found is not None:
            return found
        for node in expression.walk():
            if node not in self._values:
                self._values[node] = self._emit(node)
        return self._values[expression]

    def vector(self, expression: Expression) -> Value:
        """The value in all lanes of the vectorised axis (a scalar where none is)."""
        return self.spread(self.emit(expression))

    def _emit(self, node: Expression) -> Value:
        if isinstance(node, Constant):
            return arithmetic.constant(self.b, node.dtype, node.value)
        if isinstance(node, Apply):
            return self._apply(node)
        if isinstance(node, Load):
            return self._load(node)
        if isinstance(node, Local):
            return self._local(node)
        if isinstance(node, IndexValue):
            return self.number(node.index)
        if isinstance(node, Within):
            return self._within(node)
        assert isinstance(node, RandomWord)
        return self._random_word(node)

    def _local(self, node: Local) -> Value:
        if node.tensor in self.locals:
            return self.locals[node.tensor]
        return self.emit(self.named[node.tensor])

    def _apply(self, node: Apply) -> Value:
        arguments = [self.emit(a) for a in node.arguments]
        if any(lanes_of(a.type) > 1 for a in arguments):
            arguments = [self.spread(a) for a in arguments]
        kinds = [a.dtype for a in node.arguments]
        return arithmetic.apply(self.b, node.op, arguments, kinds, node.dtype)

    def _within(self, node: Within) -> Value:
        index, low, high = node.parts
        smallest, largest = index.range
        value = self._narrow(index) if self.varies(index) else self.index(index)
        if smallest < low == 0 and largest >= high:  # as an unsigned number it is too large
            return self.b.compare("ult", value, self.b.constant(value.type, high))
        tests = []
        if smallest < low:
            tests.append(self.b.compare("sge", value, self.b.constant(value.type, low)))
        if largest >= high:
            tests.append(self.b.compare("slt", value, self.b.constant(value.type, high)))
        if not tests:
            return self.b.constant(vector("i1", lanes_of(value.type)), True)
        return tests[0] if len(tests) == 1 else self.b.binary("and", *tests)

    def _narrow(self, index: Index) -> Value:
        """The index in all lanes, in 32 bits where it evenly grows and fits: twice the lanes."""
        stride = self.lane_stride(index)
        slack = abs(stride or 0) * self.lanes
        fits = min(index.range) - slack >= -(1 << 31) and max(index.range) + slack < 1 << 31
        if stride is None or not fits or any(isinstance(a, Lookup) for a in index.terms):
            return self.number(index)
        base = self.b.splat(self.b.convert("trunc", self.index(index), "i32"), self.lanes)
        steps = self.b.constants("i32", [stride * lane for lane in range(self.lanes)])
        return self.b.add(base, steps)

    def _random_word(self, node: RandomWord) -> Value:
        arguments = [self.emit(a) for a in node.arguments]
        wide = any(lanes_of(a.type) > 1 for a in arguments) or self.varies(node.word)
        if not wide:
            words = philox.random_words(self.b, *arguments)
            return self._pick(words, self.number(node.word))
        arguments = [self.spread(a) for a in arguments]
        if self._counts_words(node.word):
            if self.lanes == 4:
                firsts = [self.b.extract(a, 0) for a in arguments]
                return self._together(philox.random_words(self.b, *firsts))
            blocks = [self.b.shuffle(a, a, range(0, self.lanes, 4)) for a in arguments]
            words = philox.random_words(self.b, *blocks)
            return self._interleave(words)
        words = philox.random_words(self.b, *arguments)
        return self._pick(words, self.spread(self.number(node.word)))

    def _counts_words(self, word: Index) -> bool:
        """True if the lanes take the words of whole blocks in order."""
        if self.lanes % 4 or len(word.terms) != 1 or word.constant:
            return False
        ((atom, coefficient),) = word.terms.items()
        if isinstance(atom, Axis):
            return False
        return (
            coefficient == 1
            and isinstance(atom, Remainder)
            and self.lane_stride(atom.index) == 1
            and self.is_multiple(atom.index, 4)
        )

    def _together(self, words: Sequence[Value]) -> Value:
        """Scalars as the lanes of a vector."""
        result = self.b.splat(words[0], len(words))
        for lane, word in enumerate(words[1:], 1):
            result = self.b.insert(result, word, lane)
        return result

    def _interleave(self, words: Sequence[Value]) -> Value:
        quarter = self.lanes // 4
        halves = [self.b.shuffle(words[i], words[i + 1], range(2 * quarter)) for i in (0, 2)]
        order = [word * quarter + block for block in range(quarter) for word in range(4)]
        return self.b.shuffle(halves[0], halves[1], order)

    def _pick(self, words: Sequence[Value], word: Value) -> Value:
        chosen = words[3]
        for number in (2, 1, 0):
            here = self.b.compare("eq", word, self.b.constant(word.type, number))
            chosen = self.b.select(here, words[number], chosen)
        return chosen

    # -- numbers that data holds -------------------------------------------------------------------

    def lookup(self, atom: Lookup) -> Value:
        """The number that data holds, checked: a bad one is reported and 0 in its place."""
        value = self.emit(atom.expression)
        place = arithmetic.apply(
            self.b, "cast", [value], [atom.expression.dtype], np.dtype(np.int64)
        )
        if atom.source is None:  # checked before the program was started
            return place
        good = self.b.compare("ult", place, self.b.constant(place.type, atom.extent))
        if atom.expression.dtype == np.uint64:
            good = self.b.binary(
                "and", good, self.b.compare("sge", place, self.b.constant(place.type, 0))
            )
        self._report(good, place, atom)
        return self.b.select(good, place, self.b.constant(place.type, 0))

    def _report(self, good: Value, place: Value, atom: Lookup) -> None:
        lanes = lanes_of(good.type)
        checked = good
        if lanes > 1:
            mask = self.mask()
            if mask is not None:
                off = self.b.binary("xor", mask, self.b.constant(mask.type, True))
                checked = self.b.binary("or", good, off)
        bits = self.b.define(f"i{lanes}", f"bitcast {checked.type} {checked.name} to i{lanes}")
        if lanes == 1:
            bits = checked
        bad = self.b.compare("ne", bits, Value(bits.type, "-1" if lanes > 1 else "true"))
        with self.b.when(bad):
            number = self.memory.blame(atom.source)
            for lane in range(lanes):
                fine = self.b.extract(checked, lane)
                code = self.b.select(fine, self.b.i64(0), number)
                self.b.call_own(
                    "report_index", self.memory.error, code, self.b.extract(place, lane)
                )

    # -- memory -------------------------------------------------------------------------------

    def mask(self) -> Value | None:
        """The lanes that exist; None if all do."""
        if self.active == self.lanes:
            return None
        return self.b.first_lanes(self.active, self.lanes)

    def address(self, tensor: Tensor, indices: tuple[Index, ...]) -> tuple[Value, int | None]:
        """The address at lane 0, and the stride from lane to lane in elements."""
        offset = self.memory.offset(tensor, indices)
        element = arithmetic.memory_type(tensor.dtype)
        stride = self.lane_stride(offset)
        if stride is None:
            return self.memory.pointers(tensor), None
        return self.b.offset(self.memory.pointers(tensor), self.index(offset), element), stride

    def _load(self, node: Load) -> Value:
        element = arithmetic.memory_type(node.tensor.dtype)
        if node.tensor.size == 0:
            return arithmetic.constant(self.b, node.dtype, 0)
        guard = None if node.guard is None else self.emit(node.guard)
        offset = self.memory.offset(node.tensor, node.indices)
        varies = self.varies(offset) or (guard is not None and lanes_of(guard.type) > 1)
        if self.vector_axis is None or not varies:
            raw = self._load_one(node.tensor, element, self.index(offset), guard)
        else:
            self.ask_for_next(node)
            raw = self._load_lanes(node.tensor, element, offset, guard)
        return arithmetic.from_memory(self.b, raw, node.dtype)

    def following(self, node: Load) -> Load | None:
        """The load that the next step will make in its place, of a batch's row; else None."""
        found = []
        for index in node.indices:
            atoms = list(index.terms)
            if len(atoms) == 1 and isinstance(atoms[0], Lookup) and atoms[0].source is None:
                row = atoms[0].expression
                if isinstance(row, Load) and row.tensor.producer is None:
                    (place,) = row.indices
                    later = Load(row.tensor, (place + row.tensor.shape[0],))
                    index = Index({Lookup(later, atoms[0].extent): 1})
            found.append(index)
        return None if tuple(found) == node.indices else Load(node.tensor, tuple(found))

    def ask_for_next(self, node: Load) -> None:
        """Ask for what the next step reads here, if that is a row of another batch."""
        later = self.following(node)
        if later is not None and self.vector_axis is not None:
            pointer, stride = self.address(later.tensor, later.indices)
            if stride == 1:
                self.b.prefetch(pointer, locality=2)

    def _load_one(self, tensor: Tensor, element: str, place: Value, guard: Value | None) -> Value:
        if guard is not None:
            place = self.b.select(guard, place, self.b.i64(0))
        self._check(tensor, place)
        pointer = self.b.offset(self.memory.pointers(tensor), place, element)
        return self.b.load(element, pointer)

    def _check(self, tensor: Tensor, first: Value, reach: int = 0) -> None:
        """Report an access to elements ``first`` to ``first + reach`` that is not all inside."""
        extent = self.memory.extent(tensor) if self.memory.extent is not None else None
        if extent is None:
            return
        b = self.b
        last = b.add(first, b.i64(reach))
        inside = [b.compare("ult", place, b.i64(extent)) for place in (first, last)]
        code = b.select(b.binary("and", *inside), b.i64(0), b.i64(OUT_OF_BOUNDS))
        b.call_own("report_index", self.memory.error, code, first)

    def _load_lanes(
        self, tensor: Tensor, element: str, offset: Index, guard: Value | None
    ) -> Value:
        stride = self.lane_stride(offset)
        guard = None if guard is None else self.spread(guard)
        if stride in (-1, 1, 2) or (stride == 0 and guard is None):
            if guard is None:
                self._check(tensor, self.index(offset), stride * (self.active - 1))
            return self._load_steps(tensor, element, self.index(offset), stride, guard)
        mask = self.mask()
        if guard is not None:
            mask = guard if mask is None else self.b.binary("and", mask, guard)
        return self._gather_lanes(tensor, element, offset, mask)

    def _load_steps(
        self, tensor: Tensor, element: str, first: Value, stride: int, guard: Value | None
    ) -> Value:
        """Lanes at one place (stride 0), side by side (1, -1), or at every second place (2).

        Nothing is read beyond the first and the last lane's element.
        """
        b, lanes = self.b, self.lanes
        base = b.offset(self.memory.pointers(tensor), first, element)
        if stride == 0:
            return b.splat(b.load(element, base), lanes)
        if stride == 2:
            return self._load_seconds(element, base, guard)
        order = range(lanes) if stride == 1 else range(lanes - 1, -1, -1)
        if stride == -1:
            base = b.offset(base, 1 - lanes, element)
            guard = None if guard is None else b.shuffle(guard, guard, order)
        wanted = [lane < self.active for lane in order]
        found = b.load_lanes(vector(element, lanes), base, wanted, guard)
        return found if stride == 1 else b.shuffle(found, found, order)

    def _load_seconds(self, element: str, base: Value, guard: Value | None) -> Value:
        """Every second place, from two vectors: the other ends where the last lane's element is."""
        b, lanes = self.b, self.lanes
        halves = []
        for start, odd in ((0, 0), (lanes // 2, 1)):
            owner = [start + i // 2 for i in range(lanes)]
            wanted = [lane < self.active and i % 2 == odd for i, lane in enumerate(owner)]
            if guard is None and self.active == self.lanes:
                wanted = [True] * lanes  # what lies between may be read too, and is faster
            part = None if guard is None else b.shuffle(guard, guard, owner)
            place = b.offset(base, (lanes - 1) * odd, element)
            halves.append(b.load_lanes(vector(element, lanes), place, wanted, part))
        low, high = halves
        return b.shuffle(low, high, [*range(0, lanes, 2), *range(lanes + 1, 2 * lanes, 2)])

    def _gather_lanes(
        self, tensor: Tensor, element: str, offset: Index, mask: Value | None
    ) -> Value:
        """Lane by lane; lanes that do not exist or are guarded read element 0."""
        b = self.b
        places = self.spread(self.number(offset))
        if mask is not None:
            places = b.select(mask, places, b.constant(places.type, 0))
        result = b.poison(vector(element, self.lanes))
        base = self.memory.pointers(tensor)
        for lane in range(self.lanes):
            self._check(tensor, b.extract(places, lane))
            pointer = b.offset(base, b.extract(places, lane), element)
            result = b.insert(result, b.load(element, pointer), lane)
        return result

    def store(self, tensor: Tensor, indices: tuple[Index, ...], value: Value) -> None:
        """Write the value of the present element or lanes."""
        b = self.b
        element = arithmetic.memory_type(tensor.dtype)
        offset = self.memory.offset(tensor, indices)
        base = self.memory.pointers(tensor)
        raw = arithmetic.to_memory(b, value, tensor.dtype)
        if self.vector_axis is None or not self.varies(offset):
            raw = b.extract(raw, 0)  # an axis of one element has one lane
            self._check(tensor, self.index(offset))
            b.store(raw, b.offset(base, self.index(offset), element))
            return
        raw = self.spread(raw)
        if self.lane_stride(offset) == 1:
            self._check(tensor, self.index(offset), self.active - 1)
            pointer = b.offset(base, self.index(offset), element)
            b.store_lanes(raw, pointer, [lane < self.active for lane in range(self.lanes)])
            return
        places = self.number(offset)
        for lane in range(self.active):
            self._check(tensor, b.extract(places, lane))
            pointer = b.offset(base, b.extract(places, lane), element)
            b.store(b.extract(raw, lane), pointer)
