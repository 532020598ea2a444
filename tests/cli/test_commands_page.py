"""docs/commands.md has a row for every argument and option of every command, and no others.

What it shows of commands that always print the same is what they print.
"""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chainrule.cli.app import COMMANDS, app
from chainrule.cli.console import output
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


SAMPLES = dict(re.findall(r"^\$ chainrule (.*)\n((?:(?!```|\$ ).*\n)*)", PAGE, re.M))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_sample(name):
    assert any(line.split()[0] == name and shown for line, shown in SAMPLES.items())


@pytest.mark.parametrize(
    "command", ["summary --hidden 300,100", "explain one-input", "models lenet5", "data"]
)
def test_samples_are_what_is_printed(command, monkeypatch, tmp_path):
    monkeypatch.setattr(output, "width", 80)
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    result = CliRunner().invoke(app, command.split())
    printed = "\n".join(line.rstrip() for line in result.stdout.splitlines()) + "\n"
    parts = [re.escape(part) for part in SAMPLES[command].split("…\n")]
    assert re.match(r"(?:.*\n)*?".join(parts), printed), printed
