"""Which engine runs: the compiler, unless llvmlite is missing, and then one line says so."""

import subprocess
import sys

import pytest

from chainrule.errors import ArgumentError
from chainrule.program import ENGINES, compile

WITHOUT = """
import sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "llvmlite":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hidden())
"""
NOTICE = "llvmlite is not installed: Programs run on the interpreter, several times slower\n"


def without_llvmlite(code, *arguments, check=True):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT + code, *arguments],
        capture_output=True,
        text=True,
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def test_the_first_engine_is_the_default():
    assert compile(lambda x: x).engine == ENGINES[0]
    assert compile(lambda x: x, engine="interpreter").engine == "interpreter"
    with pytest.raises(ArgumentError, match=r"there is no engine 'gpu'"):
        compile(lambda x: x, engine="gpu")


def test_without_llvmlite_functions_and_training_are_interpreted_and_say_so_once():
    result = without_llvmlite("""
import numpy as np
import chainrule as cr
from chainrule import nn, optim

double = cr.compile(lambda x: x * 2)
assert double.engine == "interpreter"
assert double(np.ones(2, np.float32)).tolist() == [2.0, 2.0]
cr.set_num_threads(1)
assert cr.get_num_threads() == 1
trainer = cr.Trainer(nn.Linear(2, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(0.01))
data = np.ones((10, 2), np.float32), np.zeros(10, int)
trainer.fit(data, epochs=1, progress="none")
cr.run_steps(lambda state, x: x.sum(), [{}], [np.ones(4, np.float32)], [[0, 1]])
for action in (lambda: trainer.profile(data), lambda: double.memory(np.ones(2, np.float32))):
    try:
        action()
    except cr.errors.ArgumentError as error:
        assert "pip install llvmlite" in str(error)
    else:
        raise SystemExit("no error")
""")
    assert result.stderr == NOTICE
    assert result.stdout == ""


def test_without_llvmlite_the_compiler_is_an_error_and_nothing_is_noticed():
    result = without_llvmlite("""
import chainrule as cr

assert cr.compile(lambda x: x, engine="interpreter")(cr.asarray(2.0)).item() == 2.0
try:
    cr.compile(lambda x: x, engine="compiler")
except cr.errors.ArgumentError as error:
    print(error)
""")
    assert "the compiler needs llvmlite, which is not installed" in result.stdout
    assert "pip install llvmlite" in result.stdout
    assert result.stderr == ""


COMMAND = """
from chainrule.cli import main
sys.argv[0] = "chainrule"
main()
"""


@pytest.mark.parametrize(
    ("arguments", "status", "told", "error"),
    [
        (["doctor"], 0, "none: Programs are interpreted (pip install llvmlite)", ""),
        (["cache"], 0, "together", ""),
        (["train", "mnist", "--engine", "compiler"], 2, "", "pip install llvmlite"),
        (["profile", "--hidden", "8"], 2, "", "pip install llvmlite"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_commands_without_llvmlite(arguments, status, told, error):
    result = without_llvmlite(COMMAND, *arguments, check=False)
    assert result.returncode == status
    assert told in result.stdout
    assert error in result.stderr
    assert "Traceback" not in result.stderr


def test_training_by_command_without_llvmlite(tmp_path):
    arguments = ["train", "mnist", "--limit", "600", "--epochs", "1", "--hidden", "8", "--out"]
    result = without_llvmlite(COMMAND, *arguments, str(tmp_path))
    assert "test accuracy" in result.stdout
    assert result.stderr == NOTICE
