"""What the commands share: consoles for output and errors, and checks of what was typed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chainrule.errors import ArgumentError

output = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Tell an error on the error stream."""
    errors.print(Text("error: ", style="bold red") + Text(message))


def print_warning(message: str) -> None:
    """Tell a warning on the error stream."""
    errors.print(Text("warning: ", style="bold yellow") + Text(message))


def one_of(value: str, known: Iterable[str], option: str) -> str:
    """Return ``value`` if it is known; ArgumentError with the valid ones otherwise."""
    names = list(known)
    if value not in names:
        raise ArgumentError(
            f"{option} does not know {value!r}", expected=", ".join(names), got=repr(value)
        )
    return value


def sizes(text: str, option: str) -> list[int]:
    """Read ``"300,100"`` as whole numbers ≥ 1; ``""`` and ``"none"`` as no layer."""
    if text.strip() in ("", "none"):
        return []
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise ArgumentError(
            f"{option} takes sizes separated by commas",
            expected="whole numbers ≥ 1, such as 300,100",
            got=repr(text),
        )
    return numbers


def existing_run(path: Path) -> Path:
    """Return the run folder, or say how one is made."""
    if not (path / "config.json").is_file():
        raise ArgumentError(
            f"{path} is no run folder",
            expected="a folder with config.json, made by chainrule train",
            fix="list your runs: ls runs/",
        )
    return path
