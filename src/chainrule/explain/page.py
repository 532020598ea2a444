"""The explanation as one HTML page: a drawing, steps to walk through by key, and all of it as text.

Nothing is loaded from elsewhere. Without scripts, or printed, the page shows every step below the
drawing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from chainrule.explain import drawing, wording
from chainrule.explain.expressions import write
from chainrule.explain.model import Chain, Lecture, Step
from chainrule.explain.page_assets import SCRIPT, STYLE


@dataclass
class Slide:
    """One step of the walk.

    Args:
        kind: ``forward``, ``backward``, ``chain`` or ``summary``.
        heading: Its title, plain text.
        body: HTML.
        nodes: Names that are lit up in the drawing.
        arrows: Pairs of names whose arrow is lit up.
    """

    kind: str
    heading: str
    body: str
    nodes: list[str] = field(default_factory=list)
    arrows: list[tuple[str, str]] = field(default_factory=list)


def render(lecture: Lecture) -> str:
    """The whole page."""
    title = escape(lecture.title or f"The chain rule for {lecture.loss}")
    loss = lecture.by_name[lecture.loss]
    slides = _slides(lecture)
    sections = "\n".join(_section(lecture, slide) for slide in slides)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>{drawing.STYLE}{STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="result">{_maths(f"{loss.name} = {wording.value_text(loss.value)}")}</p>
<p class="note">{_maths(wording.convention(lecture))}</p>
</header>
<main>
<figure>
<div class="scroll" tabindex="0" aria-label="Drawing of the graph">
{drawing.render(lecture, style=False)}
</div>
<figcaption><span class="v">value</span> above an arrow, <span class="g">gradient</span> below it.
Dashed boxes are given, thick ones are differentiated by.</figcaption>
</figure>
<nav aria-label="Steps">
<button type="button" data-go="-1">← Previous</button>
<output aria-live="polite">{len(slides)} steps</output>
<button type="button" data-go="1">Next →</button>
<button type="button" data-all aria-pressed="false">Show all</button>
<span class="keys">keys: ← → Home End, A for all</span>
</nav>
{sections}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _section(lecture: Lecture, slide: Slide) -> str:
    numbers = {step.name: i for i, step in enumerate(lecture.steps)}
    edges = {(a.source, a.target): i for i, a in enumerate(drawing.arrows_of(lecture))}
    nodes = " ".join(str(numbers[name]) for name in slide.nodes)
    lit = " ".join(str(edges[pair]) for pair in slide.arrows)
    return (
        f'<section data-kind="{slide.kind}" data-nodes="{nodes}" data-edges="{lit}">\n'
        f'<h2><span class="kind">{slide.kind}</span> <span>{_maths(slide.heading)}</span></h2>\n'
        f"{slide.body}\n</section>"
    )


def _slides(lecture: Lecture) -> list[Slide]:
    slides = [_given(lecture)]
    slides += [_forward(step) for step in lecture.forward]
    slides += [_backward(lecture, step) for step in lecture.backward]
    slides += [_chain(lecture, chain) for chain in lecture.chains]
    return [*slides, _summary(lecture)]


def _given(lecture: Lecture) -> Slide:
    rows = [[step.name, wording.value_text(step.value)] for step in lecture.given]
    names = [step.name for step in lecture.given]
    return Slide("given", "What is known at the start", _table(["name", "value"], rows), names)


def _forward(step: Step) -> Slide:
    assert step.formula is not None
    lines = [f"= {write(step.formula)}"]
    lines += [f"= {line}" for line in (step.filled, step.shapes) if line]
    lines.append(f"= {wording.value_text(step.value)}")
    where = f'<p class="note">{escape(step.where)}</p>' if step.where else ""
    arrows = [(name, step.name) for name in step.reads]
    return Slide("forward", step.name, _derivation(step.name, lines) + where, [step.name], arrows)


def _backward(lecture: Lecture, step: Step) -> Slide:
    body = f"<p>Arrives: {_maths(wording.arrival(lecture, step))}</p>"
    for edge in step.edges:
        if not edge.pointwise:
            left, right = wording.leaving_formula(lecture, edge).split(" = ", 1)
            body += _derivation(left, [f"= {right}", f"= {wording.value_text(edge.leaving)}"])
            continue
        assert step.arrives is not None
        assert edge.local is not None
        local = wording.value_text(edge.local)
        formula = write(edge.formula)
        lines = [f"= {formula}"] + ([f"= {local}"] if local != formula else [])
        body += _derivation(wording.ratio(edge.source, edge.target), lines)
        if step.name == lecture.loss:
            continue
        arrives = wording.ratio(lecture.loss, edge.source)
        product = f"{arrives} · {wording.ratio(edge.source, edge.target)}"
        lines = [f"= {product}"]
        if step.is_scalar and edge.local.size == 1:
            lines.append(
                f"= {wording.times([float(step.arrives.item()), float(edge.local.item())])}"
            )
        lines.append(f"= {wording.value_text(edge.leaving)}")
        by_way = len(lecture.by_name[edge.target].parts) > 1
        left = wording.ratio(lecture.loss, edge.target) + (f" via {edge.source}" if by_way else "")
        body += _derivation(left, lines, "leaves")
    kinks = [edge.at_kink for edge in step.edges if edge.at_kink]
    if kinks:
        body += f'<p class="note">At the kink the derivative is taken to be {escape(kinks[0])}.</p>'
    arrows = [(edge.target, step.name) for edge in step.edges]
    return Slide("backward", step.name, body, [step.name], arrows)


def _chain(lecture: Lecture, chain: Chain) -> Slide:
    left = wording.ratio(lecture.loss, chain.name)
    body = _derivation(left, wording.chain_lines(lecture, chain), "chain")
    factored = wording.factored(lecture, chain)
    if factored:
        body += '<p class="note">As backpropagation does it, with the sum computed once:</p>'
        body += _derivation(left, [f"= {factored[0]}", factored[1]], "chain")
    if chain.paths and chain.paths[0].product is None:
        lines = [*wording.cascade_lines(lecture, chain)]
        items = "".join(f"<li>{_maths(line)}</li>" for line in lines)
        body += f"<ol>{items}</ol><p>{_maths(f'{left} = {wording.value_text(chain.gradient)}')}</p>"
    if chain.difference is not None:
        mark = "ok" if chain.difference.agrees else "bad"
        body += f'<p class="{mark}">{_maths(wording.difference_text(chain))}</p>'
    if chain.updated is not None:
        body += f'<p class="update">{_maths(wording.update_text(lecture, chain))}</p>'
    arrows = [(edge.target, edge.source) for edge in chain.cascade]
    nodes = list(dict.fromkeys(name for pair in arrows for name in pair))
    return Slide("chain", left, body, nodes or [chain.name], arrows)


def _summary(lecture: Lecture) -> Slide:
    items = "".join(
        f"<li>{_maths(wording.shared_text(lecture, part))}</li>" for part in lecture.shared
    )
    body = (
        f"<ul>{items}</ul>" if items else ""
    ) + f"<p>{escape(wording.savings_text(lecture))}</p>"
    remarks = "".join(f"<p>{_maths(remark)}</p>" for remark in lecture.remarks)
    header = ["by", "value", "gradient", "central differences", "after one step"]
    rows = []
    for chain in lecture.chains:
        check = (
            wording.difference_text(chain).removeprefix("central differences: ") or "not checked"
        )
        after = wording.value_text(chain.updated) if chain.updated is not None else "—"
        value, gradient = wording.value_text(chain.value), wording.value_text(chain.gradient)
        rows.append([chain.name, value, gradient, check, after])
    names = [part.name for part in lecture.shared]
    return Slide(
        "summary",
        "What is computed once, and the check",
        body + _table(header, rows) + remarks,
        names,
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = "".join(
        "<tr>" + "".join(f"<td>{_maths(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _derivation(left: str, lines: Sequence[str], kind: str = "") -> str:
    """Lines of an equation, aligned at their sign."""
    rows = []
    for i, line in enumerate(lines):
        sign, rest = (line[0], line[2:]) if line[:2] in ("= ", "+ ") else ("=", line)
        shown = _maths(left) if i == 0 else ""
        rows.append(f"<tr><td>{shown}</td><td>{sign}</td><td>{_maths(rest)}</td></tr>")
    label = f' class="derivation {kind}"'
    return f'<table{label} role="presentation"><tbody>{"".join(rows)}</tbody></table>'


_RATIO = re.compile(r"∂([^\s/∂()]+)/∂([^\s·⊙,:)=]+)")
_NAME = re.compile(r"(?<![\w.])([^\W\d_]+)_?([0-9]\w*|(?<=_)\w+)(?![\w(.])")


def _maths(text: str) -> str:
    """Escaped text with ∂a/∂b as fractions and the indices of names as subscripts."""
    out, position = "", 0
    for match in _RATIO.finditer(text):
        out += _subscripts(text[position : match.start()])
        top, bottom = (_subscripts(part) for part in match.groups())
        out += (
            f'<span class="ratio"><span>∂{top}</span><span class="over">/</span>'
            f"<span>∂{bottom}</span></span>"
        )
        position = match.end()
    return out + _subscripts(text[position:])


def _subscripts(text: str) -> str:
    out, position = "", 0
    for match in _NAME.finditer(text):
        out += escape(text[position : match.start()])
        out += f"{escape(match[1])}<sub>{escape(match[2])}</sub>"
        position = match.end()
    return out + escape(text[position:])
