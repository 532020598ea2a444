"""``chainrule profile``: a table of kernels that fits a terminal, and the memory on request."""

import pytest
from typer.testing import CliRunner

from chainrule.cli.app import app
from chainrule.errors import ArgumentError
from chainrule.program import ENGINES

pytestmark = pytest.mark.skipif("compiler" not in ENGINES, reason="needs llvmlite")
SMALL = ["profile", "mnist", "--hidden", "8", "--batch-size", "16", "--seconds", "0.05"]


def test_the_table_of_a_small_network():
    result = CliRunner().invoke(app, [*SMALL, "--memory"], catch_exceptions=False)
    lines = result.output.splitlines()
    assert lines[0] == "mnist, 784-8-10 relu, adam, batches of 16"
    assert lines[1].startswith("step: ")
    assert any(line.startswith("multiply 16x784x8") for line in lines)
    assert "memory of step" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--seconds", "0", "--seconds is out of range"), ("--optimizer", "x", "--optimizer")],
)
def test_wrong_values_are_named(option, value, message):
    with pytest.raises(ArgumentError, match=message):
        CliRunner().invoke(app, [*SMALL, option, value], catch_exceptions=False)
