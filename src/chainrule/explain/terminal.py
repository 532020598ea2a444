"""The explanation for a terminal: aligned columns that need no colour to be read."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from chainrule.explain import wording
from chainrule.explain.expressions import write
from chainrule.explain.model import Chain, Lecture, Step


def render(lecture: Lecture, width: int = 80, colour: bool = False) -> str:
    """Write the whole explanation.

    Args:
        lecture: What to tell.
        width: Columns, at least 40.
        colour: With ANSI colours.
    """
    out = StringIO()
    console = Console(
        file=out, width=max(width, 40), force_terminal=colour, legacy_windows=False,
        color_system="standard" if colour else None, highlight=False, markup=False, emoji=False,
        soft_wrap=False, _environ={},
    )  # fmt: skip
    _Writer(console, lecture).all()
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


class _Writer:
    def __init__(self, console: Console, lecture: Lecture) -> None:
        self.console = console
        self.lecture = lecture

    def all(self) -> None:
        lecture = self.lecture
        if lecture.title:
            self.console.print(Text(lecture.title, style="bold"))
        loss = lecture.by_name[lecture.loss]
        self.console.print(Text(f"{loss.name} = {wording.value_text(loss.value)}", style="bold"))
        self.console.print(Text(wording.convention(lecture)))
        self.given()
        self.forward()
        self.backward()
        self.chains()
        self.shared()
        self.check()
        if self.lecture.remarks:
            self.heading("Remarks")
            for remark in self.lecture.remarks:
                self.indent(remark)

    def heading(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold cyan"))
        self.console.print(Text("─" * len(text), style="cyan"))

    def indent(self, text: str, columns: int = 2, style: str = "") -> None:
        self.console.print(Padding(Text(text, style=style), (0, 0, 0, columns)))

    def given(self) -> None:
        self.heading("Given")
        line = ""
        for step in (s for s in self.lecture.given if s.is_scalar):
            part = f"{step.name} = {wording.scalar_text(step.value)}"
            if line and len(line) + len(part) + 5 > self.console.width:
                self.indent(line)
                line = ""
            line += f"   {part}" if line else part
        if line:
            self.indent(line)
        for step in self.lecture.given:
            if not step.is_scalar:
                self.indent(f"{step.name} = {wording.value_text(step.value)}")

    def forward(self) -> None:
        self.heading("Forward: each value from those before it")
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right", no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        for i, step in enumerate(self.lecture.forward, 1):
            formula = Text(f"{step.name} = {write(step.formula)}")  # type: ignore[arg-type]
            if step.where:
                formula.append(f"   [{step.where}]", style="dim")
            value = Text(wording.scalar_text(step.value), style="bold") if step.is_scalar else ""
            table.add_row(Text(str(i), style="dim"), formula, value)
            pad = " " * len(step.name)
            for line in (step.filled, step.shapes):
                if line:
                    table.add_row("", Text(f"{pad} = {line}"), "")
            if not step.is_scalar:
                room = self.console.width - len(pad) - 26
                lines = _wrap(wording.value_text(step.value), room, room)
                text = f"{pad} = " + f"\n{pad}   ".join(lines)
                table.add_row("", Text(text), "")
        self.console.print(Padding(table, (0, 0, 0, 1)))

    def backward(self) -> None:
        loss = self.lecture.loss
        self.heading(f"Backward: from {loss} to what it depends on")
        numbers = {step.name: i for i, step in enumerate(self.lecture.forward, 1)}
        scalar = wording.is_scalar(self.lecture)
        if scalar:
            self.indent(
                "local derivative = value; × the gradient that arrives = the one that leaves"
            )
            rows = [row for step in self.lecture.backward for row in self.scalar_rows(step)]
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for step in self.lecture.backward:
            self._hanging(
                f"{numbers[step.name]:>2}  {step.name}: {wording.arrival(self.lecture, step)}",
                8 + len(step.name), "bold",
            )  # fmt: skip
            if scalar:
                self.scalar_edges(step, widths)
            else:
                self.array_edges(step)
        for step in self.lecture.given:
            if len(step.parts) > 1:
                self._hanging(f"    {step.name}: {wording.arrival(self.lecture, step)}", 8)

    def scalar_rows(self, step: Step) -> list[tuple[str, str, str, str]]:
        rows = []
        for edge in step.edges:
            assert step.arrives is not None
            assert edge.local is not None
            local = wording.scalar_text(edge.local)
            arrives = wording.scalar_text(step.arrives)
            rows.append(
                (
                    wording.local_derivative(edge),
                    f"= {local}" if local != write(edge.formula) else "",
                    f"× ({arrives})" if arrives.startswith("−") else f"× {arrives}",
                    f"= {wording.scalar_text(edge.leaving)}",
                )
            )
        return rows

    def scalar_edges(self, step: Step, widths: list[int]) -> None:
        room = self.console.width - 5 - sum(w + 1 for w in widths[1:])
        table = Table.grid(padding=(0, 1))
        for width in (min(widths[0], max(room, 16)), *widths[1:]):
            table.add_column(width=width)
        for row in self.scalar_rows(step):
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(Padding(table, (0, 0, 0, 4)))
        if step.edges[0].at_kink:
            self.indent(f"at the kink: {step.edges[0].at_kink}", 6, "dim")

    def array_edges(self, step: Step) -> None:
        for edge in step.edges:
            self.indent(wording.leaving_formula(self.lecture, edge), 5)
            if edge.pointwise and edge.local is not None and step.name != self.lecture.loss:
                local = f"{wording.ratio(edge.source, edge.target)} = {write(edge.formula)}"
                shown = wording.value_text(edge.local)
                self.indent(
                    local if shown == write(edge.formula) else f"{local} = {shown}", 7, "dim"
                )
            self.indent(wording.leaving_numbers(self.lecture, edge), 7)
        if step.edges[0].at_kink:
            self.indent(f"at the kink: {step.edges[0].at_kink}", 7, "dim")

    def chains(self) -> None:
        self.heading("The chain rule, product by product")
        for chain in self.lecture.chains:
            self.chain(chain)

    def chain(self, chain: Chain) -> None:
        left = wording.ratio(self.lecture.loss, chain.name)
        lines = wording.chain_lines(self.lecture, chain)
        indent = len(left) + 3
        self._hanging(f"{left} {lines[0]}", indent + 2)
        for line in lines[1:]:
            self._hanging(" " * (indent - 2) + line, indent + 2)
        symbols = wording.factored(self.lecture, chain)
        if symbols:
            self._hanging(f"  or, as backpropagation does it, {symbols[0]} {symbols[1]}", 6)
        if chain.paths and chain.paths[0].product is None:
            for line in wording.cascade_lines(self.lecture, chain):
                self.indent(line, 6)
            self._hanging(f"    = {wording.value_text(chain.gradient)}", 6)
        if chain.difference is not None:
            self.indent(wording.difference_text(chain), 4)
        if chain.updated is not None:
            self.indent(wording.update_text(self.lecture, chain), 4, "bold")
        self.console.print()

    def _hanging(self, text: str, indent: int, style: str = "") -> None:
        """One line, continued below its own beginning where it is too long."""
        start = len(text) - len(text.lstrip())
        room = self.console.width - 2
        indent = min(indent, room // 3)
        lines = _wrap(text.lstrip(), room - start, room - indent)
        for i, line in enumerate(lines):
            margin = " " * (2 + (start if i == 0 else indent))
            self.console.print(Text(margin + line, style=style))

    def shared(self) -> None:
        self.heading("What is computed once and used again")
        for part in self.lecture.shared:
            self.indent(wording.shared_text(self.lecture, part))
        self.indent(wording.savings_text(self.lecture))

    def check(self) -> None:
        if not any(chain.difference for chain in self.lecture.chains):
            return
        self.heading("Checked against central differences")
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for name in ("by", "gradient", "differences", "rel. error", ""):
            table.add_column(name, justify="left" if name in ("by", "") else "right")
        for chain in self.lecture.chains:
            check = chain.difference
            assert check is not None
            place = 0 if check.total == 1 else int(abs(check.gradient).argmax())
            label = chain.name if check.total == 1 else f"{chain.name}, largest of {check.count}"
            table.add_row(
                Text(label), wording.scalar_text(check.gradient[place].astype("float32")),
                wording.scalar_text(check.estimate[place]), f"{check.error:.0e}",
                "agrees" if check.agrees else "DIFFERS",
            )  # fmt: skip
        self.console.print(Padding(table, (0, 0, 0, 2)))


def _wrap(text: str, first: int, rest: int) -> list[str]:
    lines, current, room = [], "", first
    for word in text.split(" "):
        candidate = f"{current} {word}" if current else word
        if current and len(candidate) > room:
            lines.append(current)
            current, room = word, rest
        else:
            current = candidate
    return [*lines, current]
