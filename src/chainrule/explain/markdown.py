"""The explanation in Markdown: tables for the two passes, code blocks for the products."""

from __future__ import annotations

from chainrule.explain import wording
from chainrule.explain.expressions import write
from chainrule.explain.model import Lecture, Step


def render(lecture: Lecture) -> str:
    """The whole explanation."""
    loss = lecture.by_name[lecture.loss]
    parts = [f"# {escape(lecture.title)}"] if lecture.title else []
    parts.append(f"**{code(f'{loss.name} = {wording.value_text(loss.value)}')}**")
    parts.append(escape(wording.convention(lecture)))
    parts += ["## Given", _given(lecture), "## Forward", _forward(lecture)]
    parts += ["## Backward", _backward(lecture), "## The chain rule, product by product"]
    parts += [_chain(lecture, i) for i in range(len(lecture.chains))]
    parts.append("## What is computed once and used again")
    shared = [f"- {code(wording.shared_text(lecture, part))}" for part in lecture.shared]
    if shared:
        parts.append("\n".join(shared))
    parts.append(escape(wording.savings_text(lecture)))
    if lecture.remarks:
        parts += ["## Remarks", *(escape(remark) for remark in lecture.remarks)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Plain text: nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!" else c for c in text)


def code(text: str) -> str:
    """Text as code inside a line or a cell."""
    text = text.replace("\n", " ")
    longest = max((len(run) for run in _runs(text)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]


def _table(header: list[str], rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _given(lecture: Lecture) -> str:
    rows = [[code(s.name), code(wording.value_text(s.value))] for s in lecture.given]
    return _table(["name", "value"], rows)


def _forward(lecture: Lecture) -> str:
    rows = []
    for i, step in enumerate(lecture.forward, 1):
        assert step.formula is not None
        detail = step.filled or step.shapes
        rows.append(
            [
                str(i),
                code(f"{step.name} = {write(step.formula)}"),
                code(detail) if detail else "",
                code(wording.value_text(step.value)),
            ]
        )
    return _table(["step", "formula", "filled in", "value"], rows)


def _backward(lecture: Lecture) -> str:
    rows = [row for step in lecture.backward for row in _edges(lecture, step)]
    return _table(["through", "arrives", "local derivative", "value", "leaves"], rows)


def _edges(lecture: Lecture, step: Step) -> list[list[str]]:
    rows: list[list[str]] = []
    for edge in step.edges:
        first = not rows
        if edge.pointwise:
            local = wording.local_derivative(edge)
            value = code(wording.value_text(edge.local)) if edge.local is not None else ""
        else:
            local, value = wording.leaving_formula(lecture, edge), ""
        leaves = f"{wording.ratio(lecture.loss, edge.target)}: {wording.value_text(edge.leaving)}"
        rows.append(
            [
                code(step.name) if first else "",
                code(wording.arrival(lecture, step)) if first else "",
                code(local),
                value,
                code(leaves),
            ]
        )
    return rows


def _chain(lecture: Lecture, index: int) -> str:
    chain = lecture.chains[index]
    left = wording.ratio(lecture.loss, chain.name)
    lines = wording.chain_lines(lecture, chain)
    body = [f"{left} {lines[0]}", *(" " * (len(left) + 1) + line for line in lines[1:])]
    if chain.paths and chain.paths[0].product is None:
        body += wording.cascade_lines(lecture, chain)
        body.append(f"{' ' * len(left)} = {wording.value_text(chain.gradient)}")
    body += [f"or {part}" for part in [" ".join(wording.factored(lecture, chain))] if part]
    body += [part for part in (wording.difference_text(chain),) if part]
    body += [part for part in (wording.update_text(lecture, chain),) if part]
    fence = "`" * max(3, 1 + max((len(run) for line in body for run in _runs(line)), default=0))
    return "\n".join([f"{fence}text", *body, fence])
