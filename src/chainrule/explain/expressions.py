"""Formulas as trees: made from the texts of the op records, simplified, and written as text.

The records say ``"{out}·(1 − {out})"``; here that becomes a tree, so that one formula can stand
inside another with the parentheses it needs, and can be written for a terminal or for LaTeX.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from chainrule.explain.digits import number


@dataclass(frozen=True)
class Expr:
    """One formula.

    Args:
        kind: ``num``, ``sym``, ``slot``, ``add``, ``neg``, ``mul``, ``div``, ``pow``, ``matmul``,
            ``conv``, ``sum``, ``transpose``, ``sqrt``, ``abs``, ``call``, ``index`` or ``words``.
        args: Parts.
        text: Of a symbol, function or index its text; of words a pattern with ``\\x00`` for parts.
        value: Of a number its value.
    """

    kind: str
    args: tuple[Expr, ...] = ()
    text: str = ""
    value: float = 0.0

    def __str__(self) -> str:
        return write(self)


def num(value: float, text: str = "") -> Expr:
    """A number, written as ``text`` (default: six digits)."""
    return Expr("num", text=text or number(value), value=value)


def sym(name: str) -> Expr:
    """A named quantity."""
    return Expr("sym", text=name)


def call(name: str, *args: Expr) -> Expr:
    """A function applied."""
    return Expr("call", args, name)


OUTER = "\x00 ⊗ \x00"
ONE = num(1.0)
ZERO = num(0.0)


# --- the texts of the records -------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s*(?:(?P<slot>\{\w+\})|(?P<number>\d+(?:\.\d+)?)|(?P<name>[^\W\d_]\w*|Σ|Π)"
    r"|(?P<mark>[-+−·/^²³ᵀ@∗√(),|]))"
)
_INFIX = {"+": 1, "−": 1, "-": 1, "·": 2, "/": 2, "@": 2, "∗": 2}


class _Unreadable(Exception):
    """The text is no formula: it is kept as words."""


class _Parser:
    """Precedence climbing over the small language of the records."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        position = 0
        text = text.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise _Unreadable
            self.tokens.append((str(match.lastgroup), match.group(str(match.lastgroup))))
            position = match.end()
        self.tokens.append(("end", ""))
        self.place = 0

    def peek(self) -> str:
        return self.tokens[self.place][1]

    def take(self, wanted: str = "") -> tuple[str, str]:
        token = self.tokens[self.place]
        if wanted and token[1] != wanted:
            raise _Unreadable
        self.place += 1
        return token

    def whole(self) -> Expr:
        result = self.infix(1)
        if self.tokens[self.place][0] != "end":
            raise _Unreadable
        return result

    def infix(self, level: int) -> Expr:
        left = self.prefix()
        while _INFIX.get(self.peek(), 0) >= level:
            mark = self.take()[1]
            right = self.infix(_INFIX[mark] + 1)
            left = _combine(mark, left, right)
        return left

    def prefix(self) -> Expr:
        if self.peek() in ("−", "-"):
            self.take()
            return Expr("neg", (self.infix(2),))
        if self.peek() in ("Σ", "Π"):
            mark = self.take()[1]
            inner = self.infix(2)
            return Expr("sum", (inner,)) if mark == "Σ" else call("Π", inner)
        return self.postfix(self.atom())

    def postfix(self, base: Expr) -> Expr:
        while True:
            mark = self.peek()
            if mark in ("²", "³"):
                self.take()
                base = Expr("pow", (base, num(2.0 if mark == "²" else 3.0)))
            elif mark == "ᵀ":
                self.take()
                base = Expr("transpose", (base,))
            elif mark == "^":
                self.take()
                base = Expr("pow", (base, self.postfix(self.atom())))
            else:
                return base

    def atom(self) -> Expr:
        kind, text = self.take()
        if kind == "slot":
            return Expr("slot", text=text[1:-1])
        if kind == "number":
            return num(float(text), text)
        if text == "(":
            inner = self.infix(1)
            self.take(")")
            return inner
        if text == "|":
            inner = self.infix(1)
            self.take("|")
            return Expr("abs", (inner,))
        if text == "√":
            return Expr("sqrt", (self.atom(),))
        if kind != "name":
            raise _Unreadable
        if self.peek() == "(":
            return self.arguments(text)
        return sym(text)

    def arguments(self, name: str) -> Expr:
        self.take("(")
        args = [self.infix(1)]
        while self.peek() == ",":
            self.take()
            args.append(self.infix(1))
        self.take(")")
        return call(name, *args)


def _combine(mark: str, left: Expr, right: Expr) -> Expr:
    if mark in "−-":
        right = Expr("neg", (right,))
    if mark in "+−-":
        head = left.args if left.kind == "add" else (left,)
        return Expr("add", (*head, right))
    if mark == "·":
        head = left.args if left.kind == "mul" else (left,)
        return Expr("mul", (*head, right))
    return Expr({"/": "div", "@": "matmul", "∗": "conv"}[mark], (left, right))


@cache
def parse(template: str) -> Expr:
    """Read a record's text; what is no formula becomes words with slots in them."""
    try:
        return _Parser(template).whole()
    except _Unreadable:
        pieces = re.split(r"(\{\w+\})", template)
        slots = tuple(Expr("slot", text=piece[1:-1]) for piece in pieces[1::2])
        return Expr("words", slots, "\x00".join(pieces[::2]))


def fill(expression: Expr, slots: Mapping[str, Expr]) -> Expr:
    """Put formulas into the slots."""
    if expression.kind == "slot":
        return slots.get(expression.text, sym(expression.text))
    return rebuild(expression, lambda part: fill(part, slots))


def substitute(expression: Expr, symbols: Mapping[str, Expr]) -> Expr:
    """Replace symbols by formulas or numbers."""
    if expression.kind == "sym":
        return symbols.get(expression.text, expression)
    return rebuild(expression, lambda part: substitute(part, symbols))


def rebuild(expression: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The same formula around changed parts."""
    if not expression.args:
        return expression
    parts = tuple(change(part) for part in expression.args)
    return Expr(expression.kind, parts, expression.text, expression.value)


def symbols_of(expression: Expr) -> set[str]:
    """Names of all symbols in a formula."""
    found: set[str] = set()
    stack = [expression]
    while stack:
        part = stack.pop()
        if part.kind == "sym":
            found.add(part.text)
        stack += part.args
    return found


# --- writing ------------------------------------------------------------------------------------

_LEVEL = {
    "words": 0, "add": 1, "neg": 2, "mul": 3, "div": 3, "matmul": 3, "conv": 3, "sum": 2,
    "pow": 5, "transpose": 5, "sqrt": 5,
}  # fmt: skip


def level(expression: Expr) -> int:
    """How tightly a formula binds: 0 words, 1 sums, 2 signs, 3 products, 5 powers, 9 atoms."""
    if expression.kind == "num" and expression.value < 0:
        return 2
    if expression.kind == "num" and "e" in expression.text:
        return 3
    if expression.kind == "sym" and "/" in expression.text:
        return 4  # ∂E/∂z reads as one thing in a product, but not under a power
    if expression.kind == "sum" and level(expression.args[0]) == 9:
        return 4
    return _LEVEL.get(expression.kind, 9)


def write(expression: Expr, times: str = "·") -> str:
    """Write a formula as one line of text.

    Args:
        expression: The formula.
        times: How products are written: ``"·"`` between names, ``" × "`` between numbers.
    """

    def inside(part: Expr, least: int) -> str:
        text = write(part, times)
        return f"({text})" if level(part) < least else text

    kind, args = expression.kind, expression.args
    if kind == "add":
        return _write_sum(args, inside)
    if kind == "neg":
        return "−" + inside(args[0], 2 if args[0].kind == "sum" else 3)
    if kind == "mul":
        first = inside(args[0], {"div": 4, "sum": 3}.get(args[0].kind, 2))
        return times.join([first, *(inside(a, 4 if a.kind == "div" else 3) for a in args[1:])])
    if kind == "div":
        return f"{inside(args[0], 3)} / {inside(args[1], 4)}"
    if kind == "pow":
        exponent = {2.0: "²", 3.0: "³"}.get(args[1].value) if args[1].kind == "num" else None
        return inside(args[0], 6) + (exponent or "^" + inside(args[1], 6))
    if kind in ("matmul", "conv"):
        return f"{inside(args[0], 3)} {'@' if kind == 'matmul' else '∗'} {inside(args[1], 4)}"
    if kind == "sum":
        return "Σ " + inside(args[0], 3)
    if kind == "transpose":
        return inside(args[0], 6) + "ᵀ"
    if kind == "sqrt":
        return "√" + inside(args[0], 6)
    if kind == "abs":
        return f"|{write(args[0], times)}|"
    if kind == "call":
        return f"{expression.text}({', '.join(write(a, times) for a in args)})"
    if kind == "index":
        return inside(args[0], 6) + expression.text
    if kind == "words":
        pieces = expression.text.split("\x00")
        return pieces[0] + "".join(
            inside(a, 1) + piece for a, piece in zip(args, pieces[1:], strict=True)
        )
    return expression.text


def _write_sum(terms: tuple[Expr, ...], inside: Callable[[Expr, int], str]) -> str:
    text = inside(terms[0], 1)
    for term in terms[1:]:
        if term.kind == "neg":
            text += " − " + inside(term.args[0], 3)
        else:
            text += " + " + inside(term, 3 if term.kind == "num" else 2)
    return text


# --- simplifying --------------------------------------------------------------------------------


def simplify(expression: Expr) -> Expr:
    """Gather numbers and signs in front, drop ones and zeros, cancel equal factors, join terms."""
    expression = rebuild(expression, simplify)
    if expression.kind == "add":
        return _simplify_sum(expression)
    if expression.kind in ("mul", "div", "neg"):
        return _product(*_factors(expression))
    if expression.kind == "matmul":
        return _simplify_matmul(expression)
    if expression.kind == "pow" and expression.args[1] == ONE:
        return expression.args[0]
    if expression.kind == "sum" and expression.args[0] == ZERO:
        return ZERO
    if expression.kind == "transpose":
        return _simplify_transpose(expression)
    return expression


def _simplify_transpose(expression: Expr) -> Expr:
    inner = expression.args[0]
    if inner.kind == "transpose":
        return inner.args[0]
    if inner.kind == "words" and inner.text == OUTER:
        return Expr("words", (inner.args[1], inner.args[0]), OUTER)
    if inner.kind == "matmul":
        left, right = (simplify(Expr("transpose", (part,))) for part in inner.args)
        return Expr("matmul", (right, left))
    return expression


def recognise(expression: Expr, pattern: Expr, name: Expr) -> Expr:
    """Write ``name`` where a term contains ``pattern`` as a factor, then take out what all share.

    So the derivative of h = exp(z) / (1 + exp(z)) becomes h·(1 − h).
    """
    _, above, below = _factors(simplify(pattern))
    if not below:
        return expression
    terms = expression.args if expression.kind == "add" else (expression,)
    changed = []
    for term in terms:
        front, top, bottom = _factors(term)
        if all(part in top for part in above) and all(part in bottom for part in below):
            for part in above:
                top.remove(part)
            for part in below:
                bottom.remove(part)
            top.insert(0, name)
        changed.append((front, top, bottom))
    shared = [part for part in dict.fromkeys(changed[0][1]) if all(part in c[1] for c in changed)]
    if len(changed) == 1 or not shared:
        return simplify(Expr("add", tuple(_product(*part) for part in changed)))
    for _, top, _ in changed:
        for part in shared:
            top.remove(part)
    rest = simplify(Expr("add", tuple(_product(*part) for part in reversed(changed))))
    return Expr("mul", (*shared, rest))


def _simplify_matmul(expression: Expr) -> Expr:
    """Numbers and signs of the operands go in front of the product."""
    front, operands = 1.0, []
    for part in expression.args:
        own, above, below = _factors(part)
        front *= own
        operands.append(_product(1.0, above, below))
    return _product(front, [Expr("matmul", tuple(operands))], [])


def _factors(expression: Expr) -> tuple[float, list[Expr], list[Expr]]:
    """Number in front, factors above and below the line."""
    if expression.kind == "num":
        return expression.value, [], []
    if expression.kind == "neg":
        front, above, below = _factors(expression.args[0])
        return -front, above, below
    if expression.kind == "mul":
        front, above, below = 1.0, [], []
        for part in expression.args:
            a, b, c = _factors(part)
            front, above, below = front * a, above + b, below + c
        return front, above, below
    if expression.kind == "div":
        top = _factors(expression.args[0])
        bottom = _factors(expression.args[1])
        if bottom[0] == 0:
            return 1.0, [expression], []
        return top[0] / bottom[0], top[1] + bottom[2], top[2] + bottom[1]
    return 1.0, [expression], []


def _product(front: float, above: list[Expr], below: list[Expr]) -> Expr:
    if front == 0:
        return ZERO
    for part in list(below):
        if part in above:
            above.remove(part)
            below.remove(part)
    above, below = _gather(above), _gather(below)
    sign = front < 0
    front = abs(front)
    shown = [] if front == 1 and above else [num(front)]
    top = [*shown, *above]
    result = top[0] if len(top) == 1 else Expr("mul", tuple(top))
    if below:
        result = Expr("div", (result, below[0] if len(below) == 1 else Expr("mul", tuple(below))))
    if not sign:
        return result
    return num(-front) if result.kind == "num" else Expr("neg", (result,))


def _gather(parts: list[Expr]) -> list[Expr]:
    """Equal factors become powers, in the order of their first appearance."""
    counts: dict[Expr, float] = {}
    for part in parts:
        base, exponent = part, 1.0
        if part.kind == "pow" and part.args[1].kind == "num":
            base, exponent = part.args[0], part.args[1].value
        counts[base] = counts.get(base, 0.0) + exponent
    return [
        base if exponent == 1 else Expr("pow", (base, num(exponent)))
        for base, exponent in counts.items()
        if exponent
    ]


def _simplify_sum(expression: Expr) -> Expr:
    terms: dict[tuple[tuple[Expr, ...], tuple[Expr, ...]], float] = {}
    queue = list(expression.args)
    while queue:
        part = queue.pop(0)
        if part.kind == "add":
            queue = [*part.args, *queue]
            continue
        front, above, below = _factors(part)
        key = (tuple(above), tuple(below))
        terms[key] = terms.get(key, 0.0) + front
    parts = [_product(c, list(above), list(below)) for (above, below), c in terms.items() if c]
    if len(parts) < 2:
        return parts[0] if parts else ZERO
    return Expr("add", tuple(_signed(part) for part in parts))


def _signed(part: Expr) -> Expr:
    """A negative number as the sign and the number, so that a sum subtracts it."""
    negative = part.kind == "num" and part.value < 0
    return Expr("neg", (num(-part.value),)) if negative else part
