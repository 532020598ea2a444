"""``chainrule models``: the architectures by name, with parameters and multiply-adds."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from chainrule.cli.console import output
from chainrule.errors import ArgumentError
from chainrule.models import architecture, names
from chainrule.models.registry import nearest_names


def models(
    name: Annotated[
        str, typer.Argument(help="Part of a name, such as resnet; or one whole name.")
    ] = "",
    layers: Annotated[
        bool, typer.Option("--layers", help="Show the layer table of the model of this name.")
    ] = False,
) -> None:
    """List the models that --model and cr.models.create know; no weights are drawn."""
    wanted = name.lower().replace("-", "_")
    chosen = [known for known in names() if wanted in known]
    if (layers and wanted not in names()) or not chosen:
        raise ArgumentError(
            f"there is no model {name!r}" if name else "say of which model",
            expected="a name from chainrule models" if layers else "part of a name, or none",
            got=name or "--layers without a name",
            fix=_instead(name, chosen if name else [], "--layers " if layers else ""),
        )
    if layers:
        output.print(str(architecture(wanted).summary()))
        return
    # 80 columns have no room for more
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
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


def _instead(name: str, containing: list[str], option: str) -> str:
    """Commands for models whose names are like the one that was asked for."""
    found = nearest_names(name) or containing or ["lenet5"]
    return " or ".join(f"chainrule models {option}{known}" for known in found[:2])


def _size(shape: tuple[Any, ...]) -> str:
    """3×32×32 for one input, 50 + 50 for several of one dimension."""
    if shape and isinstance(shape[0], tuple):
        return " + ".join(map(_size, shape))
    return "×".join(map(str, shape))


def _in_units(multiply_adds: int) -> str:
    """In millions, in thousands of millions from a hundred thousand millions on."""
    millions = multiply_adds / 1e6
    return f"{millions:,.1f} M" if millions < 1e5 else f"{millions / 1e3:,.1f} G"
