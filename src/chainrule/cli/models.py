"""``chainrule models``: the architectures by name, with parameters and multiply-adds."""

from __future__ import annotations

from typing import Annotated, Any

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
    table = Table(
        box=None, padding=(0, 1, 0, 0), pad_edge=False
    )  # 80 columns have no room for more
    table.add_column("model", no_wrap=True)
    for heading in ("input", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    for known in chosen:
        entry = architecture(known)
        summary = entry.summary()
        figures = f"{summary.n_parameters:,}", _in_units(summary.multiply_adds)
        table.add_row(known, _size(entry.input_shape), *figures, entry.source)
    output.print(table)


def _size(shape: tuple[Any, ...]) -> str:
    """3×32×32 for one input, 50 + 50 for several of one dimension."""
    if shape and isinstance(shape[0], tuple):
        return " + ".join(map(_size, shape))
    return "×".join(map(str, shape))


def _in_units(multiply_adds: int) -> str:
    """In millions, in thousands of millions from a hundred thousand millions on."""
    millions = multiply_adds / 1e6
    return f"{millions:,.1f} M" if millions < 1e5 else f"{millions / 1e3:,.1f} G"
