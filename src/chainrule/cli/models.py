"""``chainrule models``: the architectures by name, with parameters and multiply-adds."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from chainrule.cli.console import output
from chainrule.models import architecture, names


def models(
    name: Annotated[
        str, typer.Argument(help="Part of a name, such as resnet; or one whole name.")
    ] = "",
    layers: Annotated[
        bool, typer.Option("--layers", help="Show the layer table of the model of this name.")
    ] = False,
) -> None:
    """List the models that --model and cr.models.create know; no weights are drawn."""
    if layers:
        found = architecture(name)
        output.print(str(found.summary()))
        return
    chosen = [known for known in names() if name.lower() in known]
    if not chosen:
        architecture(name)  # fails with the nearest names
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in ("input", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    for known in chosen:
        entry = architecture(known)
        summary = entry.summary()
        size = "×".join(map(str, entry.input_shape))
        figures = f"{summary.n_parameters:,}", f"{summary.multiply_adds / 1e6:,.1f} M"
        table.add_row(known, size, *figures, entry.source)
    output.print(table)
