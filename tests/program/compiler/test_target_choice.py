"""The target that code is made for: the machine's, or one that the environment names."""

import subprocess
import sys

import pytest

pytest.importorskip("llvmlite")
from chainrule.errors import ArgumentError
from chainrule.program.compiler.target import TARGETS, families_for, host_target


@pytest.fixture
def asked(monkeypatch):
    """Asks for a family anew."""

    def ask(name):
        monkeypatch.setenv("CHAINRULE_TARGET", name)
        return host_target.__wrapped__()

    return ask


def test_each_family_that_the_processor_runs_can_be_asked_for(asked):
    for name in families_for(host_target.__wrapped__().name):
        assert asked(name).name == name


def test_a_family_that_does_not_exist(asked):
    with pytest.raises(ArgumentError, match="CHAINRULE_TARGET names no target"):
        asked("itanium")


def test_a_family_that_the_processor_does_not_run_is_refused_before_llvm_is(asked, monkeypatch):
    others = set(TARGETS) - set(families_for(host_target.__wrapped__().name))
    assert others
    for name in others:
        with pytest.raises(ArgumentError, match=f"can not run code for {name}"):
            asked(name)
        monkeypatch.setenv("CHAINRULE_TARGET", name)
        code = "import chainrule as cr; cr.compile(lambda x: x * 2)(cr.asarray(1.0))"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.returncode == 1
        assert "can not run code" in result.stderr
