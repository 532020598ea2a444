"""Elementwise ops of two and three inputs: arithmetic, comparison, bits, ``where``."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DtypeError
from chainrule.ops import dtypes
from chainrule.ops.elementwise import align_batch, elementwise, in_float32
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.operands import as_value, broadcast_operands, is_value, promote_operands
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Spec, bind, register
from chainrule.ops.unary import abs, astype, exp, isfinite, log, log1p, signbit, zeros_like


def _where_vjp(g: Value, y: Value, condition: Value, a: Value, b: Value) -> tuple[Any, ...]:
    nothing = zeros_like(g)
    return None, bind("where", condition, g, nothing), bind("where", condition, nothing, g)


def _where_infer(condition: Value, a: Value, b: Value) -> Spec:
    if condition.dtype != dtypes.bool_ or a.dtype != b.dtype:
        raise DtypeError(
            "where: the condition must be bool and both values of one type",
            got=f"{condition.dtype}, {a.dtype}, {b.dtype}",
            fix="pass a comparison, such as x > 0",
            where=str(here()),
        )
    return a.shape, a.dtype


WHERE = register(
    Op(
        name="where",
        family="elementwise",
        arity=3,
        infer=_where_infer,
        evaluate=np.where,
        vjp=_where_vjp,
        batch=lambda inputs, batched: bind("where", *align_batch(inputs, batched)),
        formula="{y} if {x} else {z}",
        derivative=("0", "1 if {x} else 0", "0 if {x} else 1"),
        cases=(Case(shapes=((3, 4),) * 3, masks=(0,)),),
    )
)


def _power_vjp(g: Value, y: Value, x: Value, e: Value) -> tuple[Value, Value]:
    # 0⁰ has derivative 0 in x; x ≤ 0 has derivative 0 in e (as a limit at 0, by choice below)
    zero = zeros_like(x)
    in_base = where(e == 0, zero, e * power(x, where(e == 0, zero, e - 1)))
    positive = x > 0
    in_exponent = where(positive, y * log(where(positive, x, zero + 1)), zero)
    return g * in_base, g * in_exponent


def _first_wins(x: Value, y: Value, chosen: Value) -> tuple[Value, Value]:
    nothing = zeros_like(x)
    return where(chosen, x, nothing), where(chosen, nothing, y)


def _integer_quotient(function: Any) -> Any:
    """Guard integer division: a divisor of 0 gives 0 instead of undefined behaviour."""

    def evaluate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.kind not in "iu":
            return np.asarray(function(x, y), dtype=x.dtype)
        nothing = y == 0
        quotient = function(x, np.where(nothing, y.dtype.type(1), y))
        return np.where(nothing, x.dtype.type(0), quotient)

    return evaluate


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Powers; a negative power of an integer is cut off to 0, but for those of 1 and −1."""
    if x.dtype.kind not in "iu":
        return np.asarray(np.power(x, y))
    negative = y < 0
    whole = np.power(x, np.where(negative, np.negative(y), y))
    return np.where(negative & (np.abs(x) != 1), x.dtype.type(0), whole)


def _shift(function: Any) -> Any:
    """Guard shifts: an amount outside 0 .. bits − 1 is taken as the number of bits."""

    def evaluate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        bits = x.dtype.itemsize * 8
        outside = (y < 0) | (y >= bits)
        inside = function(x, np.where(outside, y.dtype.type(0), y))
        if function is np.right_shift:
            emptied = (
                np.where(x < 0, x.dtype.type(-1), x.dtype.type(0)) if x.dtype.kind == "i" else 0
            )
        else:
            emptied = 0
        return np.where(outside, emptied, inside).astype(x.dtype)

    return evaluate


ADD = elementwise(
    "add", np.add, lambda g, out, x, y: (g, g), arity=2, kind="numeric",
    formula="{x} + {y}", derivative=("1", "1"),
)  # fmt: skip
SUBTRACT = elementwise(
    "subtract", np.subtract, lambda g, out, x, y: (g, -g), arity=2, kind="numeric",
    formula="{x} − {y}", derivative=("1", "−1"),
)  # fmt: skip
MULTIPLY = elementwise(
    "multiply", np.multiply, lambda g, out, x, y: (g * y, g * x), arity=2, kind="numeric",
    formula="{x}·{y}", derivative=("{y}", "{x}"),
)  # fmt: skip
DIVIDE = elementwise(
    "divide", np.divide, lambda g, out, x, y: (g / y, -(g * (out / y))), arity=2,
    domain=(0.5, 2.5), formula="{x} / {y}", derivative=("1 / {y}", "−{out} / {y}"),
)  # fmt: skip
POWER = elementwise(
    "power", in_float32(_power), _power_vjp, arity=2, kind="numeric", domain=(0.3, 2.0),
    formula="{x}^{y}", derivative=("{y}·{x}^({y} − 1)", "{out}·ln({x})"),
    at_kink="0⁰ has derivative 0; in the exponent 0 for a base ≤ 0; 1/n of integers is cut to 0",
)  # fmt: skip
MAXIMUM = elementwise(
    "maximum", np.maximum, lambda g, out, x, y: _first_wins(g, g, x >= y), arity=2,
    kind="numeric", formula="max({x}, {y})",
    derivative=("1 if {x} ≥ {y} else 0", "1 if {y} > {x} else 0"), at_kink="the first at a tie",
)  # fmt: skip
MINIMUM = elementwise(
    "minimum", np.minimum, lambda g, out, x, y: _first_wins(g, g, x <= y), arity=2,
    kind="numeric", formula="min({x}, {y})",
    derivative=("1 if {x} ≤ {y} else 0", "1 if {y} < {x} else 0"), at_kink="the first at a tie",
)  # fmt: skip
FLOOR_DIVIDE = elementwise(
    "floor_divide", _integer_quotient(np.floor_divide), None, arity=2, kind="numeric",
    domain=(0.5, 4.0), formula="⌊{x} / {y}⌋", at_kink="integer division by 0 gives 0",
)  # fmt: skip
REMAINDER = elementwise(
    "remainder", _integer_quotient(np.remainder),
    lambda g, out, x, y: (g, -(g * floor_divide(x, y))), arity=2, kind="numeric",
    domain=(0.5, 0.9), formula="{x} mod {y}", derivative=("1", "−⌊{x} / {y}⌋"),
    at_kink="integer remainder by 0 gives 0",
)  # fmt: skip
ATAN2 = elementwise(
    "atan2", in_float32(np.arctan2),
    lambda g, out, x, y: (g * (y / (x * x + y * y)), -(g * (x / (x * x + y * y)))), arity=2,
    domain=(0.3, 2.0), formula="atan2({x}, {y})",
    derivative=("{y} / ({x}² + {y}²)", "−{x} / ({x}² + {y}²)"),
)  # fmt: skip


def _comparison(name: str, function: Any, symbol: str) -> Op:
    return elementwise(
        name, function, None, arity=2, kind="any", result=dtypes.bool_,
        formula=f"{{x}} {symbol} {{y}}",
    )  # fmt: skip


EQUAL = _comparison("equal", np.equal, "=")
NOT_EQUAL = _comparison("not_equal", np.not_equal, "≠")
LESS = _comparison("less", np.less, "<")
LESS_EQUAL = _comparison("less_equal", np.less_equal, "≤")
GREATER = _comparison("greater", np.greater, ">")
GREATER_EQUAL = _comparison("greater_equal", np.greater_equal, "≥")

BITWISE_AND = elementwise(
    "bitwise_and", np.bitwise_and, None, arity=2, kind="bitwise", formula="{x} and {y}"
)
BITWISE_OR = elementwise(
    "bitwise_or", np.bitwise_or, None, arity=2, kind="bitwise", formula="{x} or {y}"
)
BITWISE_XOR = elementwise(
    "bitwise_xor", np.bitwise_xor, None, arity=2, kind="bitwise", formula="{x} xor {y}"
)
LEFT_SHIFT = elementwise(
    "left_shift", _shift(np.left_shift), None, arity=2, kind="integer", formula="{x} << {y}",
    at_kink="an amount outside the width gives 0",
)  # fmt: skip
RIGHT_SHIFT = elementwise(
    "right_shift", _shift(np.right_shift), None, arity=2, kind="integer", formula="{x} >> {y}",
    at_kink="an amount outside the width gives 0, or −1 for a negative number",
)  # fmt: skip


def _binary(op: Op, x: Operand, y: Operand, floating: bool = False) -> Value:
    return bind(op, *broadcast_operands(promote_operands(x, y, floating=floating)))


def add(x: Operand, y: Operand, /) -> Value:
    """x + y."""
    return _binary(ADD, x, y)


def subtract(x: Operand, y: Operand, /) -> Value:
    """x − y."""
    return _binary(SUBTRACT, x, y)


def multiply(x: Operand, y: Operand, /) -> Value:
    """x·y, element by element."""
    return _binary(MULTIPLY, x, y)


def divide(x: Operand, y: Operand, /) -> Value:
    """x / y; integers become floating."""
    return _binary(DIVIDE, x, y, floating=True)


def pow(x: Operand, y: Operand, /) -> Value:
    """x to the power y; small whole Python exponents become products.

    Raises:
        DtypeError: An integer array to a negative Python int: the result is no integer.
    """
    value = as_value(x)
    if type(y) is int or (type(y) is float and dtypes.is_floating(value.dtype)):
        if y in (1, 2, 3):
            return value if y == 1 else value * pow(value, int(y) - 1)
        if y < 0 and dtypes.is_integer(value.dtype):
            raise DtypeError(
                "integers to a negative power are no integers",
                got=f"{value.dtype} ** {y}",
                fix="cast first: cr.astype(x, cr.float32) ** n, or write x ** -1.0",
                where=str(here()),
            )
    return _binary(POWER, x, y)


power = pow


def maximum(x: Operand, y: Operand, /) -> Value:
    """The larger of both; NaN if either is; at a tie the derivative goes to x."""
    return _binary(MAXIMUM, x, y)


def minimum(x: Operand, y: Operand, /) -> Value:
    """The smaller of both; NaN if either is; at a tie the derivative goes to x."""
    return _binary(MINIMUM, x, y)


def clip(x: Operand, /, min: Operand = None, max: Operand = None) -> Value:
    """Limit x to [min, max]; the derivative at the limits is 1."""
    value = as_value(x)
    if min is not None:
        value = maximum(value, min)
    return value if max is None else minimum(value, max)


def floor_divide(x: Operand, y: Operand, /) -> Value:
    """⌊x / y⌋; an integer divided by 0 gives 0."""
    return _binary(FLOOR_DIVIDE, x, y)


def remainder(x: Operand, y: Operand, /) -> Value:
    """x − y·⌊x / y⌋, with the sign of y; an integer by 0 gives 0."""
    return _binary(REMAINDER, x, y)


def atan2(x: Operand, y: Operand, /) -> Value:
    """Angle of the point (y, x), in (−π, π]."""
    return _binary(ATAN2, x, y, floating=True)


def hypot(x: Operand, y: Operand, /) -> Value:
    """√(x² + y²), without overflow for large inputs."""
    a, b = broadcast_operands(promote_operands(x, y, floating=True))
    large, small = maximum(abs(a), abs(b)), minimum(abs(a), abs(b))
    ratio = small / where(large == 0, zeros_like(large) + 1, large)
    return large * bind("sqrt", ratio * ratio + 1)


def copysign(x: Operand, y: Operand, /) -> Value:
    """|x| with the sign of y, that of −0.0 included."""
    a, b = broadcast_operands(promote_operands(x, y, floating=True))
    return where(signbit(b), -abs(a), abs(a))


def logaddexp(x: Operand, y: Operand, /) -> Value:
    """ln(exp(x) + exp(y)), without overflow."""
    a, b = broadcast_operands(promote_operands(x, y, floating=True))
    # equal infinities have no difference; elsewhere the derivative at a tie is ½ for each
    apart = where((a == b) & ~isfinite(a), 0.0, b - a)
    return where(apart > 0, b, a) + log1p(exp(where(apart > 0, -apart, apart)))


def _compare(op: Op, x: Operand, y: Operand) -> Value:
    """Bind a comparison; a Python integer beyond the other side's type is compared as int64."""
    for wide, narrow in ((x, y), (y, x)):
        if type(wide) is int and is_value(narrow) and dtypes.is_integer(narrow.dtype):
            limits = np.iinfo(narrow.dtype)
            if not limits.min <= wide <= limits.max and narrow.dtype != dtypes.uint64:
                return _binary(op, *(as_value(z, dtypes.int64) for z in (x, y)))
    return _binary(op, x, y)


def equal(x: Operand, y: Operand, /) -> Value:
    """x = y."""
    return _compare(EQUAL, x, y)


def not_equal(x: Operand, y: Operand, /) -> Value:
    """x ≠ y."""
    return _compare(NOT_EQUAL, x, y)


def less(x: Operand, y: Operand, /) -> Value:
    """x < y."""
    return _compare(LESS, x, y)


def less_equal(x: Operand, y: Operand, /) -> Value:
    """x ≤ y."""
    return _compare(LESS_EQUAL, x, y)


def greater(x: Operand, y: Operand, /) -> Value:
    """x > y."""
    return _compare(GREATER, x, y)


def greater_equal(x: Operand, y: Operand, /) -> Value:
    """x ≥ y."""
    return _compare(GREATER_EQUAL, x, y)


def bitwise_and(x: Operand, y: Operand, /) -> Value:
    """Bits set in both; logical and for bool."""
    return _binary(BITWISE_AND, x, y)


def bitwise_or(x: Operand, y: Operand, /) -> Value:
    """Bits set in either; logical or for bool."""
    return _binary(BITWISE_OR, x, y)


def bitwise_xor(x: Operand, y: Operand, /) -> Value:
    """Bits set in one only; logical xor for bool."""
    return _binary(BITWISE_XOR, x, y)


def bitwise_left_shift(x: Operand, y: Operand, /) -> Value:
    """x·2^y; 0 where y is outside the width."""
    return _binary(LEFT_SHIFT, x, y)


def bitwise_right_shift(x: Operand, y: Operand, /) -> Value:
    """⌊x / 2^y⌋; all sign bits where y is outside the width."""
    return _binary(RIGHT_SHIFT, x, y)


def logical_and(x: Operand, y: Operand, /) -> Value:
    """True where both are."""
    return bitwise_and(astype(x, dtypes.bool_), astype(y, dtypes.bool_))


def logical_or(x: Operand, y: Operand, /) -> Value:
    """True where either is."""
    return bitwise_or(astype(x, dtypes.bool_), astype(y, dtypes.bool_))


def logical_xor(x: Operand, y: Operand, /) -> Value:
    """True where one is and the other is not."""
    return bitwise_xor(astype(x, dtypes.bool_), astype(y, dtypes.bool_))


def where(condition: Operand, x: Operand, y: Operand, /) -> Value:
    """x where the condition holds, else y; no derivative in the condition."""
    chosen = as_value(condition)
    if chosen.dtype != dtypes.bool_:
        raise DtypeError(
            "where: the condition must be bool",
            got=str(chosen.dtype),
            fix="pass a comparison, such as x > 0",
            where=str(here()),
        )
    a, b = promote_operands(x, y)
    return bind(WHERE, *broadcast_operands([chosen, a, b]))
