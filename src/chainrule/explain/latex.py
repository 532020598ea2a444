"""The explanation in LaTeX: aligned environments that amsmath compiles."""

from __future__ import annotations

import re

from chainrule.explain import wording
from chainrule.explain.digits import number
from chainrule.explain.expressions import Expr, level
from chainrule.explain.model import Chain, Edge, Lecture, Step

_GREEK_LETTERS = (
    "α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu "
    "ν nu ξ xi π pi ρ rho σ sigma τ tau υ upsilon φ phi χ chi ψ psi ω omega "
    "Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega"
)
_WORDS = _GREEK_LETTERS.split()
_GREEK = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
_HATS = {"ŷ": r"\hat{y}", "x̂": r"\hat{x}", "ĥ": r"\hat{h}"}
_MARKS = {
    "−": "-", "×": r"\times ", "·": r"\cdot ", "∂": r"\partial ", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "∞": r"\infty ", "√": r"\surd ", "ᵀ": r"^{\top}", "⊗": r"\otimes ",
    "…": r"\dots ", "⊙": r"\odot ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "²": "^{2}", "³": "^{3}", "→": r"\to ", "←": r"\leftarrow ", "∗": r"\ast ", "½": r"\tfrac12 ",
}  # fmt: skip
_SPECIAL = {
    "\\": r"\backslash ", "{": r"\{", "}": r"\}", "#": r"\#", "$": r"\$", "%": r"\%", "&": r"\&",
    "_": r"\_", "^": r"\hat{\ }", "~": r"\sim ",
}  # fmt: skip
_FUNCTIONS = {
    "exp": r"\exp", "ln": r"\ln", "sin": r"\sin", "cos": r"\cos", "tan": r"\tan", "max": r"\max",
    "min": r"\min", "tanh": r"\tanh", "sinh": r"\sinh", "cosh": r"\cosh", "σ": r"\sigma",
}  # fmt: skip


def render(lecture: Lecture) -> str:
    """The whole derivation as a fragment of a LaTeX document."""
    parts = ["% needs \\usepackage{amsmath}"]
    if lecture.title:
        parts.append(rf"\subsection*{{{escape(lecture.title)}}}")
    parts.append(escape(wording.convention(lecture)))
    parts += [r"\paragraph{Forward}", _aligned([_forward(step) for step in lecture.forward])]
    parts.append(r"\paragraph{Backward}")
    rows = [_edge(lecture, edge) for step in lecture.backward for edge in step.edges]
    parts.append(_aligned(rows))
    parts.append(r"\paragraph{The chain rule}")
    parts += [_aligned(_chain(lecture, chain)) for chain in lecture.chains]
    parts.append(escape(wording.savings_text(lecture)))
    parts += [rf"\par {escape(remark)}" for remark in lecture.remarks]
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Plain text for a paragraph."""
    return "".join(_escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character in _SPECIAL:
        special = _SPECIAL[character]
        return f"${special}$" if special.endswith(" ") or character == "^" else special
    if character in _MARKS or character in _GREEK or character in _HATS:
        return f"${_mark(character)}$"
    return character


def _mark(character: str) -> str:
    if character in _GREEK:
        return f"\\{_GREEK[character]} "
    return _HATS.get(character) or _MARKS.get(character, character)


def words(text: str) -> str:
    """Words inside a formula."""
    out = ""
    for run in re.split(r"([^\x20-\x7e]|[\\{}#$%&_^~])", text):
        if len(run) == 1 and (run in _SPECIAL or not run.isascii()):
            out += _SPECIAL.get(run) or _mark(run) if not run.isalpha() else _letter(run)
        elif run:
            out += rf"\text{{{run}}}"
    return out


def _letter(character: str) -> str:
    known = _mark(character)
    return rf"\text{{{character}}}" if known == character and not character.isascii() else known


def name(text: str) -> str:
    """A name with its digits and what follows an underscore as subscript."""
    match = re.fullmatch(r"(∂?)([^\W\d_]+)_?(\w*)", text)
    if match is None:
        return rf"\mathrm{{{words(text)}}}"
    _, stem, index = match.groups()
    base = _letter(stem) if len(stem) == 1 else rf"\mathrm{{{''.join(map(_letter, stem))}}}"
    return f"{base}_{{{_index(index)}}}" if index else base


def _index(text: str) -> str:
    return "".join(_letter(c) if c.isalpha() else _SPECIAL.get(c, c) for c in text)


def ratio(top: str, bottom: str) -> str:
    r"""``\frac{\partial E}{\partial w}``."""
    return rf"\frac{{\partial {name(top)}}}{{\partial {name(bottom)}}}"


def _symbol(text: str) -> str:
    match = re.fullmatch(r"∂(.+)/∂(.+)", text)
    return ratio(*match.groups()) if match else name(text)


def write(expression: Expr) -> str:
    """A formula in LaTeX's mathematics."""

    def inside(part: Expr, least: int) -> str:
        text = write(part)
        return rf"\left({text}\right)" if level(part) < least else text

    kind, args = expression.kind, expression.args
    if kind == "num":
        return numeral(expression.text)
    if kind == "sym":
        return _symbol(expression.text)
    if kind == "add":
        text = inside(args[0], 1)
        for term in args[1:]:
            negative = term.kind == "neg"
            text += f" - {inside(term.args[0], 3)}" if negative else f" + {inside(term, 3)}"
        return text
    if kind == "neg":
        return "-" + inside(args[0], 3)
    if kind == "mul":
        return r" \cdot ".join([inside(args[0], 2), *(inside(a, 3) for a in args[1:])])
    if kind == "div":
        return rf"\frac{{{write(args[0])}}}{{{write(args[1])}}}"
    if kind == "pow":
        return f"{{{inside(args[0], 6)}}}^{{{write(args[1])}}}"
    if kind in ("matmul", "conv"):
        middle = r"\," if kind == "matmul" else r" \ast "
        return f"{inside(args[0], 3)}{middle}{inside(args[1], 4)}"
    if kind == "sum":
        return r"\sum " + inside(args[0], 3)
    if kind == "transpose":
        return f"{{{inside(args[0], 6)}}}^{{\\top}}"
    if kind == "sqrt":
        return rf"\sqrt{{{write(args[0])}}}"
    if kind == "abs":
        return rf"\left|{write(args[0])}\right|"
    if kind == "call":
        function = _FUNCTIONS.get(expression.text) or rf"\operatorname{{{words(expression.text)}}}"
        return rf"{function}\left({', '.join(write(a) for a in args)}\right)"
    if kind == "index":
        return inside(args[0], 6) + words(expression.text)
    pieces = expression.text.split("\x00")
    return words(pieces[0]) + "".join(
        inside(a, 1) + words(piece) for a, piece in zip(args, pieces[1:], strict=True)
    )


def numeral(text: str) -> str:
    """A number: minus and powers of ten as mathematics."""
    text = text.replace("−", "-").replace("∞", r"\infty ").replace("NaN", r"\text{NaN}")
    match = re.fullmatch(r"(-?[\d.]+)e([-+]?)0*(\d+)", text)
    if match is None:
        return text
    sign = "-" if match[2] == "-" else ""
    return rf"{match[1]} \times 10^{{{sign}{match[3]}}}"


def _numerals(text: str) -> str:
    return re.sub(r"−?[\d.]+(?:e[-+]?\d+)?", lambda m: numeral(m[0]), text)


def _product(values: list[float]) -> str:
    text = _numerals(wording.times(values))
    return text.replace(" × ", r" \times ").replace("(", r"\left(").replace(")", r"\right)")


def _aligned(rows: list[str]) -> str:
    body = " \\\\\n".join(f"  {row}" for row in rows)
    return f"\\[\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n\\]"


def _forward(step: Step) -> str:
    assert step.formula is not None
    row = f"{name(step.name)} &= {write(step.formula)}"
    if step.is_scalar:
        return f"{row} = {_numerals(wording.scalar_text(step.value))}"
    return row + rf" \quad \text{{of shape }} {_shape(step)}"


def _shape(step: Step) -> str:
    return r" \times ".join(str(n) for n in step.value.shape)


def _edge(lecture: Lecture, edge: Edge) -> str:
    if edge.pointwise:
        row = f"{ratio(edge.source, edge.target)} &= {write(edge.formula)}"
        if edge.local is not None and edge.local.size == 1:
            local = number(edge.local.reshape(-1)[0])
            if local != str(edge.formula):
                row += f" = {_numerals(local)}"
        return row
    return f"{ratio(lecture.loss, edge.target)} &= {write(edge.formula)}"


def _chain(lecture: Lecture, chain: Chain) -> list[str]:
    left = ratio(lecture.loss, chain.name)
    rows: list[str] = []
    for path in chain.paths:
        product = r" \cdot ".join(ratio(*pair) for pair in path.factors) or "1"
        rows.append(f"{left if not rows else ''} &{'+' if rows else '='} {product}")
    left_out = chain.n_paths - len(chain.paths)
    if left_out:
        rows.append(rf" &+ \dots \quad \text{{({left_out} more)}}")
    elif all(path.product is not None and path.numbers for path in chain.paths):
        for i, path in enumerate(chain.paths):
            rows.append(f" &{'+' if i else '='} {_product(path.numbers)}")
    if chain.gradient.size == 1:
        rows.append(f" &= {_numerals(wording.scalar_text(chain.gradient))}")
        update = _update(lecture, chain)
        rows += [update] if update else []
    return rows


def _update(lecture: Lecture, chain: Chain) -> str:
    if chain.updated is None or lecture.learning_rate is None:
        return ""
    step = _product([lecture.learning_rate, float(chain.gradient.item())])
    before = _numerals(wording.scalar_text(chain.value))
    after = _numerals(wording.scalar_text(chain.updated))
    return rf"{name(chain.name)} &\leftarrow {before} - {step} = {after}"
