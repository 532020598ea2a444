"""Emission of elementwise ops: values and types of NumPy, instructions of LLVM.

Every op does what its record's NumPy function does: NaN goes through maxima, integers divided by 0
give 0, floats become integers by saturation, shifts are guarded. 16-bit floats are computed in
float32 and rounded after each op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import CompilerError
from chainrule.program.compiler.llvm import casts, integers
from chainrule.program.compiler.llvm.builder import Builder, Value, element_of, vector
from chainrule.program.compiler.llvm.vector_math import FUNCTIONS

Dtype = np.dtype[Any]
_FLOATS = {"float32": "float", "float64": "double"}
_FLOAT32 = np.dtype(np.float32)
_COMPARISONS = {
    "equal": ("oeq", "eq", "eq"),
    "not_equal": ("une", "ne", "ne"),
    "less": ("olt", "slt", "ult"),
    "less_equal": ("ole", "sle", "ule"),
    "greater": ("ogt", "sgt", "ugt"),
    "greater_equal": ("oge", "sge", "uge"),
}


def llvm_type(dtype: Dtype) -> str:
    """The element type of a value in a register; 16-bit floats are kept as their bits."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return "i1"
    return _FLOATS.get(kind.name) or f"i{kind.itemsize * 8}"


def memory_type(dtype: Dtype) -> str:
    """The element type in memory: bools are bytes there."""
    return "i8" if np.dtype(dtype).kind == "b" else llvm_type(dtype)


def constant(b: Builder, dtype: Dtype, number: Any, lanes: int = 1) -> Value:
    """A number of a NumPy type, in every lane."""
    kind = np.dtype(dtype)
    if is_short(kind):
        number = int(np.asarray(number, kind).view(np.uint16))
    return b.constant(vector(llvm_type(kind), lanes), number)


def from_memory(b: Builder, value: Value, dtype: Dtype) -> Value:
    """What was loaded, as it is kept in registers."""
    if np.dtype(dtype).kind != "b":
        return value
    return b.compare("ne", value, b.constant(value.type, 0))


def to_memory(b: Builder, value: Value, dtype: Dtype) -> Value:
    """A value as it is stored."""
    return b.convert("zext", value, "i8") if np.dtype(dtype).kind == "b" else value


def is_floating(dtype: Dtype) -> bool:
    """True for the four floating types."""
    return np.dtype(dtype).kind in "fV"


def is_short(dtype: Dtype) -> bool:
    """True for float16 and bfloat16."""
    return is_floating(dtype) and np.dtype(dtype).itemsize == 2


def apply(
    b: Builder, op: str, arguments: Sequence[Value], dtypes: Sequence[Dtype], result: Dtype
) -> Value:
    """Emit an elementwise op.

    Args:
        b: Where to.
        op: Name of the op's record.
        arguments: Its inputs, all of the same number of lanes.
        dtypes: Their NumPy types.
        result: The result's NumPy type.

    Raises:
        CompilerError: There is no such elementwise op.
    """
    if op == "cast":
        return casts.cast(b, arguments[0], np.dtype(dtypes[0]), np.dtype(result))
    if op == "where":
        return b.select(*arguments)
    kind = np.dtype(dtypes[-1])
    if is_short(kind):
        wide = [
            casts.cast(b, x, np.dtype(d), _FLOAT32) for x, d in zip(arguments, dtypes, strict=True)
        ]
        short = is_short(result)
        value = apply(b, op, wide, [_FLOAT32] * len(wide), _FLOAT32 if short else result)
        return casts.cast(b, value, _FLOAT32, np.dtype(result)) if short else value
    if op in _COMPARISONS:
        floating, signed, unsigned = _COMPARISONS[op]
        predicate = floating if is_floating(kind) else signed if kind.kind == "i" else unsigned
        return b.compare(predicate, *arguments)
    table = _FLOAT_OPS if is_floating(kind) else integers.OPS
    if op in table:
        return table[op](b, kind, *arguments)
    if op in FUNCTIONS and is_floating(kind):
        return FUNCTIONS[op](b, *arguments)
    raise CompilerError(f"the compiler cannot emit the op {op} on {kind}")


# --- floating point ---------------------------------------------------------------------------


def _maximum(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
    # x where it is larger or NaN; else y, which may be NaN itself
    first = b.binary("or", b.compare("ogt", x, y), b.compare("uno", x, x))
    return b.select(first, x, y)


def _minimum(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
    first = b.binary("or", b.compare("olt", x, y), b.compare("uno", x, x))
    return b.select(first, x, y)


def _relu(b: Builder, kind: Dtype, x: Value) -> Value:
    zero = b.constant(x.type, 0)
    return b.select(b.compare("ugt", x, zero), x, zero)


def _sign(b: Builder, kind: Dtype, x: Value) -> Value:
    zero, one, minus = (b.constant(x.type, n) for n in (0, 1, -1))
    rest = b.select(b.compare("oeq", x, zero), zero, x)  # NaN stays
    below = b.select(b.compare("olt", x, zero), minus, rest)
    return b.select(b.compare("ogt", x, zero), one, below)


def _is_finite(b: Builder, kind: Dtype, x: Value) -> Value:
    magnitude = b.call_intrinsic("llvm.fabs", x.type, x)
    return b.compare("olt", magnitude, b.constant(x.type, np.inf))


def _rounded(name: str) -> Callable[..., Value]:
    def emit(b: Builder, kind: Dtype, x: Value) -> Value:
        if b.module.target.name in ("sse2", "scalar"):
            return _rounded_by_addition(b, name, x)
        return b.call_intrinsic(f"llvm.{name}", x.type, x)

    return emit


def _rounded_by_addition(b: Builder, name: str, x: Value) -> Value:
    """Rounding without an instruction for it: 2²³ (2⁵²) more pushes the fraction out."""
    big = b.constant(x.type, 2.0**23 if element_of(x.type) == "float" else 2.0**52)
    one = b.constant(x.type, 1)
    magnitude = b.call_intrinsic("llvm.fabs", x.type, x)
    even = b.sub(b.add(magnitude, big), big)
    whole = b.select(b.compare("olt", magnitude, big), even, magnitude)
    if name == "trunc":
        over = b.compare("ogt", whole, magnitude)
        whole = b.select(over, b.sub(whole, one), whole)
    signed = b.call_intrinsic("llvm.copysign", x.type, whole, x)
    if name == "floor":
        lower = b.call_intrinsic("llvm.copysign", x.type, b.sub(signed, one), x)
        signed = b.select(b.compare("ogt", signed, x), lower, signed)
    if name == "ceil":
        upper = b.call_intrinsic("llvm.copysign", x.type, b.add(signed, one), x)
        signed = b.select(b.compare("olt", signed, x), upper, signed)
    return b.select(b.compare("uno", x, x), x, signed)


def _floor_divide(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
    return _division(b, kind, x, y)[0]


def _remainder(b: Builder, kind: Dtype, x: Value, y: Value) -> Value:
    return _division(b, kind, x, y)[1]


def _division(b: Builder, kind: Dtype, x: Value, y: Value) -> tuple[Value, Value]:
    """⌊x / y⌋ and x − y·⌊x / y⌋; the quotient is put right where its rounding passed a whole."""
    zero, one = b.constant(x.type, 0), b.constant(x.type, 1)
    quotient = _rounded("floor")(b, kind, b.div(x, y))
    rest = b.fma(b.neg(quotient), y, x)
    negative = b.compare("olt", y, zero)
    scaled = b.select(negative, b.neg(rest), rest)
    size = b.select(negative, b.neg(y), y)
    under, over = b.compare("olt", scaled, zero), b.compare("oge", scaled, size)
    quotient = b.select(under, b.sub(quotient, one), quotient)
    quotient = b.select(over, b.add(quotient, one), quotient)
    rest = b.select(under, b.add(rest, y), rest)
    rest = b.select(over, b.sub(rest, y), rest)
    return _infinite_divisor(b, x, y, quotient, rest)


def _infinite_divisor(
    b: Builder, x: Value, y: Value, quotient: Value, rest: Value
) -> tuple[Value, Value]:
    """x / ±∞: 0 and x, or −1 and ±∞ where the signs differ."""
    zero = b.constant(x.type, 0)
    infinity = b.constant(x.type, np.inf)
    magnitude = b.call_intrinsic("llvm.fabs", x.type, y)
    inner = b.compare("olt", b.call_intrinsic("llvm.fabs", x.type, x), infinity)
    infinite = b.binary("and", b.compare("oeq", magnitude, infinity), inner)
    differ = b.compare(
        "olt",
        b.call_intrinsic(
            "llvm.copysign",
            x.type,
            b.constant(x.type, 1),
            b.mul(
                b.call_intrinsic("llvm.copysign", x.type, b.constant(x.type, 1), x),
                b.call_intrinsic("llvm.copysign", x.type, b.constant(x.type, 1), y),
            ),
        ),
        zero,
    )
    differ = b.binary("and", differ, b.compare("une", x, zero))
    whole = b.select(differ, b.constant(x.type, -1), zero)
    left = b.select(differ, y, x)
    return b.select(infinite, whole, quotient), b.select(infinite, left, rest)


_FLOAT_OPS: dict[str, Callable[..., Value]] = {
    "negative": lambda b, kind, x: b.neg(x),
    "abs": lambda b, kind, x: b.call_intrinsic("llvm.fabs", x.type, x),
    "sign": _sign,
    "sqrt": lambda b, kind, x: b.sqrt(x),
    "relu": _relu,
    "floor": _rounded("floor"),
    "ceil": _rounded("ceil"),
    "trunc": _rounded("trunc"),
    "round": _rounded("rint"),
    "isfinite": _is_finite,
    "isnan": lambda b, kind, x: b.compare("uno", x, x),
    "add": lambda b, kind, x, y: b.add(x, y),
    "subtract": lambda b, kind, x, y: b.sub(x, y),
    "multiply": lambda b, kind, x, y: b.mul(x, y),
    "divide": lambda b, kind, x, y: b.div(x, y),
    "maximum": _maximum,
    "minimum": _minimum,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
}

