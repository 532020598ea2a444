"""Folds in registers: starting values, one step, and the join of lanes in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.program.compiler.llvm import arithmetic
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of, vector
from chainrule.program.compiler.lowering.reductions import Fold

STEP = {"sum": "add", "cumsum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}


def start(b: Builder, fold: Fold, lanes: int) -> list[Value]:
    """The registers before the first element: one, or value and place for ``argmax``."""
    first = arithmetic.constant(b, np.dtype(fold.accumulator), _neutral(fold), lanes)
    if fold.kind in ("argmax", "argmin"):
        return [first, b.constant(vector("i64", lanes), 0)]
    return [first]


def _neutral(fold: Fold) -> Any:
    dtype = np.dtype(fold.accumulator)
    if fold.kind in ("sum", "cumsum"):
        return 0
    if fold.kind == "prod":
        return 1
    highest = fold.kind in ("min", "argmin")
    if dtype.kind == "b":
        return highest
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return limits.max if highest else limits.min
    return np.inf if highest else -np.inf


def step(b: Builder, fold: Fold, state: list[Value], value: Value, place: Value) -> list[Value]:
    """Fold one element (in every lane); ``place`` is its number along the folded axis."""
    if fold.kind in ("argmax", "argmin"):
        best, where = state
        better = _is_better(b, fold, value, best)
        place = b.splat(place, lanes_of(value.type)) if lanes_of(place.type) == 1 else place
        return [b.select(better, value, best), b.select(better, place, where)]
    return [_combine(b, fold, state[0], value)]


def _combine(b: Builder, fold: Fold, x: Value, y: Value) -> Value:
    dtype = np.dtype(fold.accumulator)
    return arithmetic.apply(b, STEP[fold.kind], [x, y], [dtype, dtype], dtype)


def _is_better(b: Builder, fold: Fold, value: Value, best: Value) -> Value:
    """The first of the largest (smallest) wins, and NaN beats every number."""
    dtype = np.dtype(fold.accumulator)
    name = "greater" if fold.kind == "argmax" else "less"
    better = arithmetic.apply(b, name, [value, best], [dtype, dtype], np.dtype(bool))
    if dtype.kind not in "fV":
        return better
    new = arithmetic.apply(b, "isnan", [value], [dtype], np.dtype(bool))
    old = arithmetic.apply(b, "isnan", [best], [dtype], np.dtype(bool))
    number = b.binary("xor", old, b.constant(old.type, True))
    return b.binary("or", better, b.binary("and", new, number))


def merge(b: Builder, fold: Fold, x: list[Value], y: list[Value]) -> list[Value]:
    """Join two states of the same elements' lanes, x before y."""
    if fold.kind not in ("argmax", "argmin"):
        return [_combine(b, fold, x[0], y[0])]
    better = _is_better(b, fold, y[0], x[0])
    dtype = np.dtype(fold.accumulator)
    same = arithmetic.apply(b, "equal", [x[0], y[0]], [dtype, dtype], np.dtype(bool))
    if dtype.kind in "fV":
        both = [arithmetic.apply(b, "isnan", [s[0]], [dtype], np.dtype(bool)) for s in (x, y)]
        same = b.binary("or", same, b.binary("and", *both))
    earlier = b.compare("slt", y[1], x[1])
    better = b.binary("or", better, b.binary("and", same, earlier))
    return [b.select(better, y[0], x[0]), b.select(better, y[1], x[1])]


def across(b: Builder, fold: Fold, state: list[Value]) -> list[Value]:
    """Join the lanes of a state: halves onto halves, a tree fixed by the number of lanes."""
    lanes = lanes_of(state[0].type)
    while lanes > 1:
        half = lanes // 2
        if half == 1:
            low = [b.extract(v, 0) for v in state]
            high = [b.extract(v, 1) for v in state]
        else:
            low = [b.shuffle(v, v, range(half)) for v in state]
            high = [b.shuffle(v, v, range(half, lanes)) for v in state]
        state = merge(b, fold, low, high)
        lanes = half
    return state
