"""``chainrule explain NAME``: a lecture's example, forward and backward, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from chainrule.cli.console import one_of, output
from chainrule.explain import example_names, example_summaries, explain_example

FORMATS = ("text", "markdown", "latex", "html")


def explain(
    name: Annotated[
        str, typer.Argument(help="Example, such as classic; without one they are listed.")
    ] = "",
    format: Annotated[
        str, typer.Option(help="text, markdown, latex or html.", show_default=True)
    ] = "text",
    out: Annotated[
        Path | None, typer.Option(help="Write to this file instead of the terminal.")
    ] = None,
) -> None:
    """Walk through an example of the lectures: values, local derivatives, gradients, check."""
    if not name:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for known, what in example_summaries().items():
            table.add_row(known, what)
        output.print(table)
        return
    one_of(name, example_names(), "explain")
    one_of(format, FORMATS, "--format")
    explanation = explain_example(name)
    if format == "html" and out is None:
        out = Path(f"{name}.html")
    if format == "text" and out is None:
        print(explanation.text(width=min(output.width, 100), colour=output.is_terminal))
        return
    text = {
        "text": explanation.text,
        "markdown": explanation.markdown,
        "latex": explanation.latex,
        "html": explanation.html,
    }[format]()
    if out is None:
        print(text)
    else:
        out.write_text(text, encoding="utf-8")
        output.print(f"written to {out}")
