"""docs/commands.md has a row for every argument and option of every command, and no others."""

import re
from pathlib import Path

import pytest
import typer

from chainrule.cli.app import COMMANDS, app
from chainrule.cli.recipe import SCHEDULES
from chainrule.cli.usual import AUGMENTATIONS, OPTIMIZERS
from chainrule.models import ACTIVATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## chainrule (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_row(name):
    command = typer.main.get_command(app).get_command(None, name)
    known = {
        p.opts[0] if p.opts[0].startswith("-") else p.name.upper()
        for p in command.params
        if p.name != "help"
    }
    assert set(re.findall(r"^\| `([^`]+)` \|", SECTIONS[name], re.M)) == known


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("activation", ACTIVATIONS),
        ("augment", AUGMENTATIONS),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
    ],
)
def test_the_choices_are_listed(option, known):
    (row,) = re.findall(rf"^\| `--{option}` \| (.*?) \|", SECTIONS["train"], re.M)
    assert re.findall(r"`([^`]+)`", row) == list(known)
