"""Examples in docstrings run, and say what they show."""

import doctest
import importlib
import pkgutil

import pytest

import chainrule

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(chainrule.__path__, "chainrule.")
    if not module.name.endswith("__main__")
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name):
    chainrule.random.seed(0)
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=FLAGS, extraglobs={"cr": chainrule})
    assert failed == 0
