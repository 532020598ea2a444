"""Algebra: elementwise work that can be done with less.

Reason: derivatives are built by rule and optimizers by formula, which leaves factors of one, double
negation, masks of masks, divisions by numbers and powers that are products.

Exact to the bit, but for the sign of a NaN: x·1, x/1, x·(−1), x − 0, x + (−0), −(−x), x + (−y),
x − (−y), (−x)·(−y), −(x·c), f(f(x)) of projections, selections, truth values, x / 2ᵏ, x·c + x·c of
normal numbers. Not rewritten, since −0.0, NaN or infinity would come out otherwise: x + 0.0, x·0.0,
x − x, x / x.

Documented differences:

- x / s of one number s for all elements, in float32 and float64, becomes x·(1/s): within 1.5 ulp of
  x / s while 1/s is a normal number.
- x² and x³ by ``power`` become products, x^0.5 a square root and x^(−1) a quotient: within 2 ulp of
  ``power``; the root of −∞ is NaN where the power is ∞.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops import dtypes
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.rewriting import (
    Rewriter,
    copied,
    made_by,
    rewrite,
    table,
    uniform,
)


def algebra(block: Block) -> bool:
    """Simplify the elementwise instructions of the block and its bodies.

    Returns:
        Whether anything changed.
    """
    return rewrite(block, _RULES)


def _is(value: Any, number: float) -> bool:
    """The uniform value is this number; −0.0 is not 0.0."""
    return (
        value is not None
        and bool(value == number)
        and (value != 0 or math.copysign(1.0, value) == math.copysign(1.0, number))
    )


def _minus(value: Any) -> Any:
    with np.errstate(all="ignore"):  # of integers, modulo their range
        return -value


def _negated(x: Tensor) -> Tensor | None:
    inner = made_by(x, "negative")
    return None if inner is None else inner.operands[0]


# --- sums and products ------------------------------------------------------------------------


def _add(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, y = instruction.operands
    # a float that is added to 0.0 loses the sign of its zero: only −0.0 changes nothing
    if _is(uniform(y), -0.0 if dtypes.is_floating(x.dtype) else 0):
        return x
    minus = _negated(y)
    if minus is not None:
        return walk.emit("subtract", x, minus)
    minus = _negated(x)
    if minus is not None:
        return walk.emit("subtract", y, minus)
    return _doubled(walk, x) if x is y else None


def _doubled(walk: Rewriter, x: Tensor) -> Tensor | None:
    """x·c + x·c = x·(2c): doubling rounds nothing."""
    inner = made_by(x, "multiply")
    value = None if inner is None else uniform(inner.operands[1])
    if inner is None or value is None or not dtypes.is_floating(x.dtype):
        return None
    with np.errstate(all="ignore"):
        double = x.dtype.type(value + value)
    if not np.isfinite(double):
        return None
    return walk.emit("multiply", inner.operands[0], walk.fill(double, x.shape, x.dtype))


def _subtract(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, y = instruction.operands
    if _is(uniform(y), 0.0):
        return x
    minus = _negated(y)
    if minus is not None:
        return walk.emit("add", x, minus)
    if _is(uniform(x), -0.0 if dtypes.is_floating(x.dtype) else 0):
        return walk.emit("negative", y)
    return None


def _multiply(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, y = instruction.operands
    value = uniform(y)
    if value is not None:
        if value == 1:
            return x
        if value == -1:
            return walk.emit("negative", x)
        if value == 0 and dtypes.is_integer(x.dtype):
            return y
        minus = _negated(x)
        if minus is not None:
            return walk.emit("multiply", minus, walk.fill(_minus(value), y.shape, y.dtype))
    return _of_both_negated(walk, instruction)


def _divide(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, y = instruction.operands
    value = uniform(y)
    if value is not None and value == 1:
        return x
    if value is not None and value == -1:
        return walk.emit("negative", x)
    return _of_both_negated(walk, instruction) or _by_reciprocal(walk, x, y, value)


def _of_both_negated(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, y = (_negated(operand) for operand in instruction.operands)
    return None if x is None or y is None else walk.emit(instruction.op.name, x, y)


def _by_reciprocal(walk: Rewriter, x: Tensor, y: Tensor, value: Any) -> Tensor | None:
    """x / s → x·(1/s): one division instead of one an element."""
    if x.size <= 1 or x.dtype not in (dtypes.float32, dtypes.float64):
        return None
    if value is not None:
        with np.errstate(all="ignore"):
            reciprocal = x.dtype.type(1) / value
        limits = np.finfo(x.dtype)
        if not limits.tiny <= abs(reciprocal) <= limits.max:
            return None
        return walk.emit("multiply", x, walk.fill(reciprocal, x.shape, x.dtype))
    scalar = copied(y)
    if scalar is None or scalar.size != 1 or uniform(x) is not None:
        return None
    one = walk.fill(1, scalar.shape, x.dtype)
    spread = walk.emit("broadcast_to", walk.emit("divide", one, scalar), shape=x.shape)
    return walk.emit("multiply", x, spread)


def _power(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, exponent = instruction.operands
    value = uniform(exponent)
    if value is None:
        return None
    if value == 1:
        return x
    if value == 2:
        return walk.emit("multiply", x, x)
    if value == 3:
        return walk.emit("multiply", walk.emit("multiply", x, x), x)
    if not dtypes.is_floating(x.dtype):
        return None
    if value == 0.5:  # + 0.0: the root of −0.0 is −0.0, its power is 0.0
        return walk.emit("sqrt", walk.emit("add", x, walk.fill(0, x.shape, x.dtype)))
    if value == -1:
        return walk.emit("divide", walk.fill(1, x.shape, x.dtype), x)
    return None


# --- one operand ------------------------------------------------------------------------------


def _undone(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """−(−x) and not(not x) are x."""
    inner = made_by(instruction.operands[0], instruction.op.name)
    return None if inner is None else inner.operands[0]


def _minus_product(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """−(x·c) is x·(−c)."""
    inner = made_by(instruction.operands[0], "multiply")
    value = None if inner is None else uniform(inner.operands[1])
    if inner is None or value is None or walk.uses(instruction.operands[0]) > 1:
        return None
    y = inner.operands[1]
    return walk.emit("multiply", inner.operands[0], walk.fill(_minus(value), y.shape, y.dtype))


def _again(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """A projection of what it made changes nothing."""
    x = instruction.operands[0]
    return None if made_by(x, instruction.op.name) is None else x


def _whole(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """Integers need no rounding."""
    x = instruction.operands[0]
    return None if dtypes.is_floating(x.dtype) else x


def _even(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """|−x| = |x|."""
    minus = _negated(instruction.operands[0])
    return None if minus is None else walk.emit(instruction.op.name, minus)


# --- selection --------------------------------------------------------------------------------


def _where(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    mask, x, y = instruction.operands
    if x is y:
        return x
    value = uniform(mask)
    if value is not None:
        return x if value else y
    inverted = made_by(mask, "bitwise_invert")
    if inverted is not None:
        return walk.emit("where", inverted.operands[0], y, x)
    inner = made_by(x, "where")
    if inner is not None and inner.operands[0] is mask:
        return walk.emit("where", mask, inner.operands[1], y)
    inner = made_by(y, "where")
    if inner is not None and inner.operands[0] is mask:
        return walk.emit("where", mask, x, inner.operands[2])
    return None


def _extremum(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, y = instruction.operands
    if x is y:
        return x
    if instruction.op.name == "maximum" and _is(uniform(y), 0.0):
        return walk.emit("relu", x)  # the same function of NumPy
    return None


def _logic(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """And, or, xor of bools with a known one, and of equals."""
    x, y = instruction.operands
    name = instruction.op.name
    if x is y and name != "bitwise_xor":
        return x
    value = uniform(y)
    if value is None or x.dtype != dtypes.bool_:
        return None
    if name == "bitwise_xor":
        return walk.emit("bitwise_invert", x) if value else x
    neutral = bool(value) is (name == "bitwise_and")
    return x if neutral else y


_TURNED = {"equal": "not_equal", "not_equal": "equal"}
_TURNED_WITHOUT_NAN = {
    "less": "greater_equal",
    "less_equal": "greater",
    "greater": "less_equal",
    "greater_equal": "less",
}


def _not(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """Not (x < y) is x ≥ y, of integers; not (x = y) is x ≠ y, of everything."""
    producer = instruction.operands[0].producer
    if producer is None:
        return None
    name = _TURNED.get(producer.op.name)
    if name is None and not dtypes.is_floating(producer.operands[0].dtype):
        name = _TURNED_WITHOUT_NAN.get(producer.op.name)
    return None if name is None else walk.emit(name, *producer.operands)


def _truth(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    """A bool that was cast to a number and is compared with 0."""
    x, y = instruction.operands
    inner = made_by(x, "cast")
    if inner is None or inner.operands[0].dtype != dtypes.bool_:
        return None
    value = uniform(y)
    if value is None or value != 0:
        return None
    mask = inner.operands[0]
    return walk.emit("bitwise_invert", mask) if instruction.op.name == "equal" else mask


_RULES = table(
    ("add", _add),
    ("subtract", _subtract),
    ("multiply", _multiply),
    ("divide", _divide),
    ("power", _power),
    ("negative bitwise_invert", _undone),
    ("negative", _minus_product),
    ("bitwise_invert", _not),
    ("equal not_equal greater", _truth),
    ("abs relu sign floor ceil round trunc", _again),
    ("floor ceil trunc", _whole),
    ("abs cos cosh", _even),
    ("where", _where),
    ("maximum minimum", _extremum),
    ("bitwise_and bitwise_or bitwise_xor", _logic),
)
