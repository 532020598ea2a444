"""``chainrule cache info|clear``: what is kept on disk between runs."""

from __future__ import annotations

from typing import Annotated

import typer

from chainrule.cli.console import one_of, output, print_facts
from chainrule.errors import ArgumentError
from chainrule.nn.summary import readable_bytes
from chainrule.program.compiler.cache import folder, survey

ACTIONS = ("info", "clear")
TITLES = {
    "graph": "code of Programs",
    "ir": "code of LLVM texts",
    "sources": "digests of sources",
    "data": "unpacked data",
    "unfinished": "unfinished files",
}


def cache(
    action: Annotated[str, typer.Argument(help="info or clear.")] = "info",
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash every file, and delete damaged ones.")
    ] = False,
) -> None:
    """Show what is kept on disk between runs, or delete it."""
    one_of(action, ACTIONS, "cache")
    if action == "info":
        _info(verify)
    elif verify:
        raise ArgumentError(
            "nothing is left to verify when the cache is cleared",
            expected="cache info --verify, or cache clear",
            got="cache clear --verify",
        )
    else:
        _clear()


def _info(verify: bool) -> None:
    damaged = survey.delete_damaged() if verify else []
    found = survey.amounts()
    total = survey.Amount(
        sum(amount.files for amount in found.values()),
        sum(amount.bytes for amount in found.values()),
    )
    problem = survey.problem()
    facts = [("folder", str(folder.location() or "none"))]
    if problem:
        facts.append(("problem", problem))
    facts += [(TITLES[kind], _told(amount)) for kind, amount in found.items() if amount.files]
    facts.append(("together", f"{_told(total)}, of {readable_bytes(folder.limit())} at most"))
    print_facts(facts)
    for path in damaged:
        output.print(f"damaged, deleted: {path}", markup=False)
    if verify:
        output.print(f"as written: {_count(total.files)}")


def _clear() -> None:
    gone = survey.clear()
    problem = survey.problem()
    if problem and not gone.files:
        output.print(f"nothing deleted: {problem}", markup=False)
    else:
        output.print(f"deleted {_told(gone)}, from {folder.location()}", markup=False)


def _count(files: int) -> str:
    return "1 file" if files == 1 else f"{files:,} files"


def _told(amount: survey.Amount) -> str:
    size = f", {readable_bytes(amount.bytes)}" if amount.files else ""
    return _count(amount.files) + size
