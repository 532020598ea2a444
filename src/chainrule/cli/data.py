"""``chainrule data list|download``: data sets that are not shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from chainrule.cli.console import errors, one_of, output
from chainrule.data.catalog import CATALOG, data_folder, entry, is_there
from chainrule.data.downloads import download
from chainrule.errors import ArgumentError
from chainrule.nn.summary import readable_bytes

ACTIONS = ("list", "download")


def data(
    action: Annotated[str, typer.Argument(help="list or download.")] = "list",
    name: Annotated[str, typer.Argument(help=f"Data set: {', '.join(CATALOG)}.")] = "",
    folder: Annotated[
        Path | None, typer.Option(help="Where data sets are kept, instead of the usual place.")
    ] = None,
    mirror: Annotated[
        str, typer.Option(help="Address of a folder with the same files, for the authors' server.")
    ] = "",
) -> None:
    """List the data sets that can be downloaded, or download one."""
    one_of(action, ACTIONS, "data")
    if action == "list":
        if name or mirror:
            raise ArgumentError(
                "the list takes no data set and no mirror",
                expected="data list, or data download NAME",
                got=f"data list {name or f'--mirror {mirror}'}",
            )
        _list(folder or data_folder())
    else:
        _download(name, folder or data_folder(), mirror)


def _list(folder: Path) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("name", "what it is", "download", "terms", "here"):
        table.add_column(heading, justify="right" if heading == "download" else "left")
    table.add_row("mnist", "70,000 handwritten digits, grey, 28 × 28", "-", "CC BY-SA 3.0", "yes")
    for name, found in CATALOG.items():
        here = "yes" if is_there(name, folder) else "no"
        table.add_row(name, found.title, readable_bytes(found.n_bytes), found.terms, here)
    output.print(table)
    output.print(f"folder: {folder}", markup=False)


def _download(name: str, folder: Path, mirror: str) -> None:
    if not name:
        raise ArgumentError(
            "which data set is to be downloaded?",
            expected=", ".join(CATALOG),
            got="no name",
            fix="chainrule data download cifar10",
        )
    entry(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=errors, transient=True) as bar:
        tasks = {file.name: bar.add_task(file.name, start=False) for file in entry(name).files}

        def show(file: str, n_bytes: int, total: int) -> None:
            bar.start_task(tasks[file])
            bar.update(tasks[file], completed=n_bytes, total=total or None)

        done = download(name, folder=folder, mirror=mirror, progress=show)
    for file in done:
        output.print(f"{file.name}: {file.how}", markup=False)
    output.print(
        f"{name} is in {folder / name}" + ("" if done else ", and was there before"), markup=False
    )
