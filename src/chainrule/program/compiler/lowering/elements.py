"""Ops whose every element is an expression of its operands' elements: they cost no memory.

Elementwise ops apply themselves; movement ops only change indices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from chainrule.program.compiler.expressions import (
    Apply,
    Constant,
    Expression,
    IndexValue,
    Load,
    RandomWord,
    Within,
)
from chainrule.program.compiler.indices import (
    ZERO,
    Index,
    Lookup,
    ravel,
    unravel,
)
from chainrule.program.compiler.instructions import Instruction, Tensor

Indices = tuple[Index, ...]


class Read(Protocol):
    """Gives the expression of an element of a tensor, in memory or computed on the spot."""

    def __call__(self, tensor: Tensor, indices: Indices) -> Expression:
        """The element of ``tensor`` at ``indices``."""
        ...

    def where(self, condition: Expression) -> Read:
        """The same, for elements that exist only where the condition holds."""
        ...

    @property
    def guard(self) -> Expression | None:
        """The condition under which the elements exist; None: always."""
        ...


Element = Callable[[Instruction, int, Indices, Any], Expression]
ELEMENTS: dict[str, Element] = {}


def lowers(*names: str) -> Callable[[Element], Element]:
    """Register the lowering of the ops named."""

    def register(function: Element) -> Element:
        for name in names:
            ELEMENTS[name] = function
        return function

    return register


ELEMENTWISE = [
    "negative",
    "abs",
    "sign",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "asinh",
    "acosh",
    "atanh",
    "tanh",
    "sigmoid",
    "erf",
    "relu",
    "floor",
    "ceil",
    "round",
    "trunc",
    "bitwise_invert",
    "isfinite",
    "isnan",
    "cast",
    "where",
    "add",
    "subtract",
    "multiply",
    "divide",
    "power",
    "maximum",
    "minimum",
    "floor_divide",
    "remainder",
    "atan2",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "left_shift",
    "right_shift",
]


@lowers(*ELEMENTWISE)
def _elementwise(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    arguments = tuple(read(operand, indices) for operand in x.operands)
    return Apply(x.op.name, arguments, x.result.dtype)


@lowers("identity", "barrier", "stop_gradient")
def _identity(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    return read(x.operands[0], indices)


@lowers("reshape")
def _reshape(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    operand = x.operands[0]
    return read(operand, reshaped(indices, x.result.shape, operand.shape))


def reshaped(indices: Indices, shape: tuple[int, ...], target: tuple[int, ...]) -> Indices:
    """Where the element at ``indices`` of ``shape`` lies in ``target``.

    Axes are matched from the front in groups of equal size, so that an axis that the reshape
    leaves alone keeps its own counter.
    """
    result: list[Index] = []
    i = j = 0
    while i < len(shape) or j < len(target):
        first_i, first_j = i, j
        a = b = 1
        while True:
            if i < len(shape) and (a <= b or j == len(target)):
                a *= shape[i]
                i += 1
            elif j < len(target):
                b *= target[j]
                j += 1
            if a == b or (i == len(shape) and j == len(target)):
                break
        flat = ravel(indices[first_i:i], shape[first_i:i])
        result += unravel(flat, target[first_j:j])
    return tuple(result)


@lowers("transpose")
def _transpose(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    order = x.attributes["axes"]
    source = [ZERO] * len(order)
    for place, axis in enumerate(order):
        source[axis] = indices[place]
    return read(x.operands[0], tuple(source))


@lowers("broadcast_to")
def _broadcast(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    operand = x.operands[0]
    extra = len(indices) - len(operand.shape)
    source = tuple(
        ZERO if extent == 1 else index
        for extent, index in zip(operand.shape, indices[extra:], strict=True)
    )
    return read(operand, source)


@lowers("slice")
def _slice(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    starts, strides = x.attributes["starts"], x.attributes["strides"]
    source = tuple(i * s + a for i, a, s in zip(indices, starts, strides, strict=True))
    return read(x.operands[0], source)


@lowers("flip")
def _flip(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    axes = x.attributes["axes"]
    source = tuple(
        -index + (extent - 1) if axis in axes and extent else index
        for axis, (index, extent) in enumerate(zip(indices, x.result.shape, strict=True))
    )
    return read(x.operands[0], source)


@lowers("pad")
def _pad(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    operand = x.operands[0]
    zero = Constant(0, x.result.dtype)
    condition: Expression | None = None
    source = []
    low, interior = x.attributes["low"], x.attributes["interior"]
    for index, extent, before, between in zip(indices, operand.shape, low, interior, strict=True):
        shifted = index - before
        if between:
            phase = shifted % (between + 1)
            if phase.as_integer() != 0:
                condition = _and(condition, Within(phase, 0, 1))
            shifted = shifted // (between + 1)
        smallest, largest = shifted.range
        if smallest < 0 or largest >= extent:
            condition = _and(condition, Within(shifted, 0, extent))
        source.append(shifted)
    if condition is None:
        return read(operand, tuple(source))
    inside = read.where(condition)(operand, tuple(source))
    return Apply("where", (condition, inside, zero), x.result.dtype)


def _and(a: Expression | None, b: Expression) -> Expression:
    return b if a is None else Apply("bitwise_and", (a, b), np.bool_)


@lowers("concatenate")
def _concatenate(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    axis = x.attributes["axis"]
    starts = np.cumsum([0, *(p.shape[axis] for p in x.operands)]).tolist()
    smallest, largest = indices[axis].range
    # of the parts that the index can reach, the last needs no question
    reached = [
        n
        for n, part in enumerate(x.operands)
        if smallest < starts[n] + part.shape[axis] and largest >= starts[n] and part.size
    ] or [0]
    chosen: Expression | None = None
    for number in reversed(reached):
        start, part = starts[number], x.operands[number]
        source = (*indices[:axis], indices[axis] - start, *indices[axis + 1 :])
        if len(reached) == 1:
            return read(part, source)
        inside = Within(indices[axis], start, start + part.shape[axis])
        value = read.where(inside)(part, source)
        chosen = value if chosen is None else Apply("where", (inside, value, chosen), value.dtype)
    assert chosen is not None
    return chosen


@lowers("iota")
def _iota(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    index = indices[x.attributes["axis"]]
    if x.result.dtype == np.int64:
        return IndexValue(index)
    return Apply("cast", (IndexValue(index),), x.result.dtype)


@lowers("gather")
def _gather(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    source, places = x.operands
    lead = indices[: len(places.shape) - 1]
    depth = places.shape[-1]
    looked_up: list[Index] = []
    for column in range(depth):
        place = read(places, (*lead, Index(None, column)))
        looked_up.append(_as_index(place, source.shape[column], x, read.guard))
    return _checked(read(source, (*looked_up, *indices[len(lead) :])), looked_up)


def _checked(value: Expression, looked_up: list[Index]) -> Expression:
    """The value with the look-ups that it does not need for itself: bad ones are errors too.

    Elements that are equal along an axis (a broadcast array's, or of an axis of one) are found
    without the index.
    """
    found = _all_lookups(value)
    for index in looked_up:
        if any(place not in found for place in lookups(index)):
            exists = Apply("greater_equal", (IndexValue(index), Constant(0, np.int64)), np.bool_)
            value = Apply("where", (exists, value, value), value.dtype)
    return value


@lowers("batch_rows")
def _batch_rows(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    data, order = x.operands
    row = Lookup(read(order, indices[:1]), data.shape[0])
    return read(data, (Index({row: 1}), *indices[1:]))


def _as_index(
    place: Expression, extent: int, source: Instruction, guard: Expression | None
) -> Index:
    """The index that an expression computes: itself where it is one, else a checked look-up.

    Where the guard does not hold there is no such number, and what is read in its place is not
    to be blamed: it counts as 0.
    """
    inner = place
    while isinstance(inner, Apply) and inner.op == "cast" and inner.dtype.kind in "iu":
        inner = inner.arguments[0]
    if isinstance(inner, IndexValue):
        low, high = inner.index.range
        if low >= 0 and high < extent:
            return inner.index
    if isinstance(inner, Constant) and 0 <= int(inner.value) < extent:
        return Index(None, int(inner.value))
    if guard is not None:
        place = Apply("where", (guard, place, Constant(0, place.dtype)), place.dtype)
    return Index({Lookup(place, extent, source): 1})


def _word(number: int) -> Constant:
    return Constant(number, np.uint32)


@lowers("random_bits")
def _random_bits(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    key = x.operands[0]
    lead = len(key.shape) - 1
    flat = ravel(indices[lead:], x.attributes["shape"])
    block = flat // 4
    words = [read(key, (*indices[:lead], Index(None, i))) for i in range(2)]
    low = Apply("cast", (IndexValue(block % (1 << 32)),), np.uint32)
    high = Apply("cast", (IndexValue(block // (1 << 32)),), np.uint32)
    return RandomWord((*words, low, high, _word(0), _word(0)), flat % 4)


@lowers("fold_in")
def _fold_in(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    key, data = x.operands
    words = [read(key, (*indices[:-1], Index(None, i))) for i in range(2)]
    number = read(data, indices[:-1])
    return RandomWord((*words, number, _word(0), _word(0), _word(1)), indices[-1])


@lowers("split")
def _split(x: Instruction, position: int, indices: Indices, read: Read) -> Expression:
    key = x.operands[0]
    words = [read(key, (*indices[:-2], Index(None, i))) for i in range(2)]
    number = Apply("cast", (IndexValue(indices[-2]),), np.uint32)
    return RandomWord((*words, number, _word(0), _word(0), _word(2)), indices[-1])


def loads(expression: Expression) -> list[Load]:
    """All loads in a tree, those inside looked-up indices too."""
    return [node for node in _everything(expression) if isinstance(node, Load)]


def _all_lookups(expression: Expression) -> set[Expression]:
    """What the indices in a tree look up."""
    return {x for node in _everything(expression) for i in _indices_of(node) for x in lookups(i)}


def _everything(expression: Expression) -> list[Expression]:
    """The nodes of a tree, those inside looked-up indices too."""
    found: list[Expression] = []
    pending = [expression]
    seen: set[Expression] = set()
    while pending:
        for node in pending.pop().walk():
            if node in seen:
                continue
            seen.add(node)
            found.append(node)
            pending += [e for i in _indices_of(node) for e in lookups(i)]
    return found


def _indices_of(node: Expression) -> tuple[Index, ...]:
    if isinstance(node, Load):
        return tuple(node.indices)
    if isinstance(node, IndexValue | Within | RandomWord):
        return (node.key[0],)
    return ()


def lookups(index: Index) -> list[Expression]:
    """The expressions that an index looks up."""
    found = []
    for atom in index.terms:
        if isinstance(atom, Lookup):
            found.append(atom.expression)
        elif hasattr(atom, "index"):
            found += lookups(atom.index)
    return found
