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
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
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


_FLOAT_OPS: dict[str, Callable[..., Value]] = {
    "negative": lambda b, kind, x: b.neg(x),
    "abs": lambda b, kind, x: b.call_intrinsic("llvm.fabs", x.type, x),
    "sign": _sign,
    "sqrt": lambda b, kind, x: b.sqrt(x),
    "relu": _relu,
    "isfinite": _is_finite,
    "isnan": lambda b, kind, x: b.compare("uno", x, x),
    "add": lambda b, kind, x, y: b.add(x, y),
    "subtract": lambda b, kind, x, y: b.sub(x, y),
    "multiply": lambda b, kind, x, y: b.mul(x, y),
    "divide": lambda b, kind, x, y: b.div(x, y),
    "maximum": _maximum,
    "minimum": _minimum,
}
