"""What the commands share: consoles for output and errors, and checks of what was typed."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chainrule.errors import ArgumentError

output = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Tell an error on the error stream; in a terminal, lines break between words."""
    errors.print(Text("error: ", style="bold red") + Text(_fitted(message)))


def _fitted(message: str) -> str:
    if not errors.is_terminal:  # whoever reads a pipe may look for a whole line
        return message
    first, *rest = message.splitlines()
    lines = textwrap.wrap(first, errors.width, initial_indent=" " * 7)
    for line in rest:
        lines += textwrap.wrap(
            line,
            errors.width,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join(lines).lstrip()


def print_warning(message: str) -> None:
    """Tell a warning on the error stream."""
    errors.print(Text("warning: ", style="bold yellow") + Text(message))


def print_facts(facts: list[tuple[str, str]]) -> None:
    """Print names and values below each other; paths stay on one line, for copying.

    Args:
        facts: Name and value of each line.
    """
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        output.print(f"{name:<{width}}  {value}", markup=False)


def one_of(value: str, known: Iterable[str], option: str) -> str:
    """Return ``value`` if it is known; ArgumentError with the valid ones otherwise."""
    names = list(known)
    if value not in names:
        raise ArgumentError(
            f"{option} does not know {value!r}",
            expected=", ".join(names),
            got=repr(value),
            fix=meant(value, names),
        )
    return value


def meant(value: str, names: Iterable[str]) -> str:
    """``did you mean adam?``, if a name is spelled much like ``value``; else nothing."""
    close = difflib.get_close_matches(value.lower().replace("-", "_"), list(names), n=1)
    return f"did you mean {close[0]}?" if close else ""


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
