"""From records of ops to formulas: the value's, and what a gradient turns into on its way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule.explain.expressions import OUTER, Expr, call, fill, num, parse, sym
from chainrule.explain.snapshot import Record
from chainrule.ops.record import Op

_SLOTS = ("x", "y", "z", "u", "v", "w")


def forward_formula(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    """The formula of one op on the formulas of its operands."""
    op = record.op
    assert op is not None
    special = _FORWARD.get(op.name)
    if special is not None:
        made: Expr | None = special(record, operands, spec)
        if made is not None:
            return made
    if not op.formula or _n_slots(op.formula) < len(operands) or len(operands) > len(_SLOTS):
        return call(op.name, *operands)
    return fill(parse(op.formula), _filling(record, operands))


def _n_slots(template: str) -> int:
    return sum(f"{{{name}}}" in template for name in _SLOTS)


def _filling(record: Record, operands: Sequence[Expr]) -> dict[str, Expr]:
    filling = dict(zip(_SLOTS, operands, strict=False))
    for name, value in record.attributes.items():
        if isinstance(value, int | float | str | tuple) or name == "dtype":
            filling.setdefault(name, sym(str(value)))
    return filling


def _same(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    return operands[0]


def _multiply(record: Record, operands: Sequence[Expr], spec: Any) -> Expr | None:
    a, b = operands
    if _is_mean(record):
        return call("mean", a.args[0]) if a.kind == "sum" else None
    if is_square(record):
        return Expr("pow", (a, num(2.0)))
    if a.kind == "pow" and a.args[0] == b and a.args[1].kind == "num":
        return Expr("pow", (b, num(a.args[1].value + 1)))
    head = a.args if a.kind == "mul" else (a,)
    return Expr("mul", (*head, b))


def _is_mean(record: Record) -> bool:
    """True for Σ x · (1 / count)."""
    total, factor = record.inputs
    source = total.node
    if source.op is None or source.op.name != "sum" or factor.node.values is None:
        return False
    data = factor.node.values[factor.index].data
    if factor.node.op is not None or data.size == 0:
        return False
    operand = source.inputs[0]
    count = math.prod(operand.shape[a] for a in source.attributes["axes"])
    return bool((abs(data.astype(float) * count - 1) < 1e-6).all())


def is_square(record: Record) -> bool:
    """True for x·x of one and the same x."""
    a, b = record.inputs
    return a.node is b.node and a.index == b.index


def _reshape(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    source = record.inputs[0]
    if source.size == 1 or _squeezed(source.shape) == _squeezed(spec[0]):
        return operands[0]
    return Expr("words", (operands[0],), f"\x00 as {_shape(spec[0])}")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(n) for n in shape) or "scalar"


def _slice(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    parts = []
    triples = zip(*(record.attributes[k] for k in ("starts", "stops", "strides")), strict=True)
    for (start, stop, stride), size in zip(triples, record.inputs[0].shape, strict=True):
        if (start, stop, stride) == (0, size, 1):
            parts.append(":")
        elif stop == start + 1:
            parts.append(str(start))
        else:
            parts.append(f"{start or ''}:{stop}" + (f":{stride}" if stride != 1 else ""))
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return Expr("index", (operands[0],), f"[{', '.join(parts)}]")


def _transpose(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    rank = len(record.inputs[0].shape)
    axes = record.attributes["axes"]
    if axes in ((1, 0), (*range(rank - 2), rank - 1, rank - 2)):
        return Expr("transpose", (operands[0],))
    return Expr("words", (operands[0],), f"\x00 with axes {', '.join(str(a) for a in axes)}")


def _sum(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    source = record.inputs[0]
    if source.size == 1 or not record.attributes["axes"]:
        return operands[0]
    return Expr("sum", (operands[0],))


def _concatenate(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    return call("concat", *operands)


def _dot(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    x, y = operands
    return (
        Expr("matmul", (x, Expr("transpose", (y,)))) if _by_rows(record) else Expr("matmul", (x, y))
    )


def _by_rows(record: Record) -> bool:
    """x @ yᵀ in one op: the last axes of both are summed over."""
    a, b = record.inputs
    (left, right), (lead, _) = record.attributes["contract"], record.attributes["batch"]
    return left == (len(a.shape) - 1,) and right == (1,) and len(b.shape) == 2 and not lead


def _gather(record: Record, operands: Sequence[Expr], spec: Any) -> Expr:
    return Expr("index", (operands[0],), f"[{operands[1]}]")


_FORWARD: dict[str, Any] = {
    "dot_general": _dot, "gather": _gather,
    "broadcast_to": _same, "cast": _same, "identity": _same, "barrier": _same,
    "multiply": _multiply, "reshape": _reshape, "slice": _slice, "transpose": _transpose,
    "sum": _sum, "concatenate": _concatenate,
}  # fmt: skip


# --- backward -----------------------------------------------------------------------------------


def backward_formulas(
    record: Record, operands: Sequence[Expr], out: Expr, g: Expr, spec: Any
) -> list[Expr | None]:
    """What ``g``, arriving at the op's output, becomes at each operand.

    Args:
        record: The op.
        operands: Formulas of its operands.
        out: Formula of its output.
        g: Formula of the gradient that arrives.
        spec: Shape and dtype of the output.

    Returns:
        A formula per operand; None where no gradient goes.
    """
    op = record.op
    assert op is not None
    if op.vjp is None:
        return [None] * len(operands)
    special = _BACKWARD.get(op.name)
    if special is not None:
        made: list[Expr | None] | None = special(record, operands, g, spec)
        if made is not None:
            return made
    if op.name == "multiply" and is_square(record):
        return [Expr("mul", (g, num(2.0), operands[0])), None]
    return [
        _by_template(op, record, operands, out, g, position) for position in range(len(operands))
    ]


def _by_template(
    op: Op, record: Record, operands: Sequence[Expr], out: Expr, g: Expr, position: int
) -> Expr:
    # one text for all operands is meant for each (concatenate), unless the op has a fixed arity
    texts = op.derivative
    if not texts or (position >= len(texts) and op.arity is not None):
        return Expr("words", (g,), f"\x00 through the derivative of {op.name}")
    template = texts[min(position, len(texts) - 1)]
    parsed = parse(template)
    filled = fill(parsed, {**_filling(record, operands), "out": out})
    if parsed.kind != "words" and "g" in _bare_symbols(parsed):
        return _replace_g(filled, g)
    if op.family in ("elementwise", "composite"):
        return Expr("mul", (g, filled))
    text = fill(parse(template), {**_filling(record, operands), "out": out})
    return Expr("words", (g, text), "\x00 times \x00")


def _bare_symbols(parsed: Expr) -> set[str]:
    found = {parsed.text} if parsed.kind == "sym" else set()
    for part in parsed.args:
        found |= _bare_symbols(part)
    return found


def _replace_g(expression: Expr, g: Expr) -> Expr:
    if expression == sym("g"):
        return g
    parts = tuple(_replace_g(part, g) for part in expression.args)
    return Expr(expression.kind, parts, expression.text, expression.value)


def _pass(record: Record, operands: Sequence[Expr], g: Expr, spec: Any) -> list[Expr | None]:
    return [g]


def _back_broadcast(
    record: Record, operands: Sequence[Expr], g: Expr, spec: Any
) -> list[Expr | None]:
    source = record.inputs[0]
    if source.size == math.prod(spec[0]):
        return [g]
    if len(source.shape) <= 1 and len(spec[0]) == 2 and source.size == spec[0][1]:
        return [Expr("words", (g,), "Σ rows of \x00")]
    return [Expr("sum", (g,))]


def _back_reshape(
    record: Record, operands: Sequence[Expr], g: Expr, spec: Any
) -> list[Expr | None]:
    shape = record.inputs[0].shape
    if _squeezed(shape) == _squeezed(spec[0]):
        return [g]
    return [Expr("words", (g,), f"\x00 as {_shape(shape)}")]


def _back_transpose(
    record: Record, operands: Sequence[Expr], g: Expr, spec: Any
) -> list[Expr | None]:
    return [Expr("transpose", (g,))] if len(spec[0]) == 2 else [Expr("words", (g,), "\x00 back")]


def _back_dot(record: Record, operands: Sequence[Expr], g: Expr, spec: Any) -> list[Expr | None]:
    a, b = record.inputs
    (left, right), (lead, _) = record.attributes["contract"], record.attributes["batch"]
    plain = left == (len(a.shape) - 1,) and right == (0,) and not lead
    x, y = operands
    y_t = Expr("transpose", (y,))
    x_t = Expr("transpose", (x,))
    if len(left) == 1 and not lead and len(a.shape) == len(b.shape) == 1:
        return [Expr("mul", (g, y)), Expr("mul", (g, x))]
    if _by_rows(record):
        by_weight = (
            outer(g, x) if len(a.shape) == 1 else Expr("matmul", (Expr("transpose", (g,)), x))
        )
        return [Expr("matmul", (g, y)), by_weight]
    if plain and len(b.shape) == 2:
        by_weight = outer(x, g) if len(a.shape) == 1 else Expr("matmul", (x_t, g))
        return [Expr("matmul", (g, y_t)), by_weight]
    if plain and len(b.shape) == 1:
        return [outer(g, y), Expr("matmul", (x_t, g))]
    if lead:
        return [Expr("matmul", (g, y_t)), Expr("matmul", (x_t, g))]
    return [Expr("words", (g, y), "Σ \x00·\x00"), Expr("words", (x, g), "Σ \x00·\x00")]


def outer(a: Expr, b: Expr) -> Expr:
    """The outer product of two vectors."""
    return Expr("words", (a, b), OUTER)


def _back_slice(record: Record, operands: Sequence[Expr], g: Expr, spec: Any) -> list[Expr | None]:
    where = _slice(record, [sym("")], spec).text
    return [Expr("words", (g,), f"\x00 at {where}, 0 elsewhere")]


_BACKWARD: dict[str, Any] = {
    "broadcast_to": _back_broadcast, "cast": _pass, "identity": _pass, "barrier": _pass,
    "reshape": _back_reshape, "transpose": _back_transpose, "dot_general": _back_dot,
    "sum": _pass, "slice": _back_slice,
}  # fmt: skip
