"""Integers and bools: wrapping arithmetic, division and shifts that can not trap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.program.compiler.llvm.builder import Builder, Value

Dtype = np.dtype[Any]


def _is_signed(kind: Dtype) -> bool:
    return kind.kind == "i"


def _negative(b: Builder, kind: Dtype, x: Value) -> Value:
    return b.sub(b.constant(x.type, 0), x)


def _abs(b: Builder, kind: Dtype, x: Value) -> Value:
    if not _is_signed(kind):
        return x
    return b.select(b.compare("slt", x, b.constant(x.type, 0)), _negative(b, kind, x), x)


def _sign(b: Builder, kind: Dtype, x: Value) -> Value:
    zero, one = b.constant(x.type, 0), b.constant(x.type, 1)
    if not _is_signed(kind):
        return b.select(b.compare("ne", x, zero), one, zero)
    below = b.select(b.compare("slt", x, zero), b.constant(x.type, -1), zero)
    return b.select(b.compare("sgt", x, zero), one, below)


def _larger(predicate: str) -> Callable[..., Value]:
    def emit(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
        sign = "s" if _is_signed(kind) else "u"
        return b.select(b.compare(sign + predicate, x, y), x, y)

    return emit


def _relu(b: Builder, kind: Dtype, x: Value) -> Value:
    return _larger("gt")(b, kind, x, b.constant(x.type, 0))


def _invert(b: Builder, kind: Dtype, x: Value) -> Value:
    return b.binary("xor", x, b.constant(x.type, True if kind.kind == "b" else -1))


def _always(truth: bool) -> Callable[..., Value]:
    def emit(b: Builder, kind: Dtype, x: Value) -> Value:
        same = b.compare("eq", x, x)
        return same if truth else b.binary("xor", same, b.constant(same.type, True))

    return emit


def _floor_divide(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
    return _divide(b, kind, x, y)[0]


def _remainder(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
    return _divide(b, kind, x, y)[1]


def _divide(b: Builder, kind: Dtype, x: Value, y: Value) -> tuple[Value, Value]:
    """Quotient rounded down and remainder; by 0 both are 0, and the least number by −1 wraps."""
    zero, one = b.constant(x.type, 0), b.constant(x.type, 1)
    nothing = b.compare("eq", y, zero)
    if not _is_signed(kind):
        divisor = b.select(nothing, one, y)
        quotient = b.select(nothing, zero, b.binary("udiv", x, divisor))
        rest = b.select(nothing, zero, b.binary("urem", x, divisor))
        return quotient, rest
    minus = b.compare("eq", y, b.constant(x.type, -1))
    divisor = b.select(b.binary("or", nothing, minus), one, y)
    quotient = b.binary("sdiv", x, divisor)
    rest = b.sub(x, b.mul(quotient, divisor))
    opposite = b.compare("slt", b.binary("xor", rest, divisor), zero)
    short = b.binary("and", b.compare("ne", rest, zero), opposite)
    quotient = b.select(short, b.sub(quotient, one), quotient)
    rest = b.select(short, b.add(rest, divisor), rest)
    quotient = b.select(minus, b.sub(zero, x), b.select(nothing, zero, quotient))
    return quotient, b.select(b.binary("or", minus, nothing), zero, rest)


def _shift(instruction: str) -> Callable[..., Value]:
    def emit(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
        zero = b.constant(x.type, 0)
        inside = b.compare("ult", y, b.constant(x.type, 8 * kind.itemsize))
        amount = b.select(inside, y, zero)
        if instruction == "left":
            return b.select(inside, b.binary("shl", x, amount), zero)
        moved = b.binary("ashr" if _is_signed(kind) else "lshr", x, amount)
        empty = zero
        if _is_signed(kind):
            empty = b.select(b.compare("slt", x, zero), b.constant(x.type, -1), zero)
        return b.select(inside, moved, empty)

    return emit


def _power(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
    """By squaring, a turn for each bit of the exponent; a negative power is cut off to 0."""
    zero, one = b.constant(x.type, 0), b.constant(x.type, 1)
    below = b.compare("slt", y, zero) if _is_signed(kind) else None
    size = y if below is None else b.select(below, b.sub(zero, y), y)
    with b.loop(0, 8 * kind.itemsize, 1, [one, x, size]) as loop:
        result, base, left = loop.carried
        odd = b.compare("ne", b.binary("and", left, one), zero)
        result = b.select(odd, b.mul(result, base), result)
        loop.carry(result, b.mul(base, base), b.binary("lshr", left, one))
    result = loop.results[0]
    if below is None:
        return result
    cut = b.binary("and", below, b.compare("ne", _abs(b, kind, x), one))
    return b.select(cut, zero, result)


OPS: dict[str, Callable[..., Value]] = {
    "negative": _negative,
    "abs": _abs,
    "sign": _sign,
    "relu": _relu,
    "floor": lambda b, kind, x: x,
    "ceil": lambda b, kind, x: x,
    "trunc": lambda b, kind, x: x,
    "bitwise_invert": _invert,
    "isfinite": _always(True),
    "isnan": _always(False),
    "add": lambda b, kind, x, y: b.binary("add", x, y),
    "subtract": lambda b, kind, x, y: b.binary("sub", x, y),
    "multiply": lambda b, kind, x, y: b.binary("mul", x, y),
    "power": _power,
    "maximum": _larger("gt"),
    "minimum": _larger("lt"),
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "bitwise_and": lambda b, kind, x, y: b.binary("and", x, y),
    "bitwise_or": lambda b, kind, x, y: b.binary("or", x, y),
    "bitwise_xor": lambda b, kind, x, y: b.binary("xor", x, y),
    "left_shift": _shift("left"),
    "right_shift": _shift("right"),
}
