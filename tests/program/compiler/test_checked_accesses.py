"""CHAINRULE_CHECK=1: accesses outside of a tensor's memory are found, and there are none."""

import numpy as np
import pytest

from chainrule.array import asarray, trace
from chainrule.errors import CompilerError
from chainrule.program.compiler.lower import Lowering
from chainrule.program.compiler.native import NativeProgram

X = np.arange(35, dtype=np.float32).reshape(5, 7)
FUNCTIONS = {
    "side by side": lambda x: x * 2 + 1,
    "across": lambda x: x.T.sum(axis=1),
    "backwards": lambda x: x[:, ::-1] + x,
    "one number": lambda x: x.sum(),
    "looked up": lambda x: x[np.array([0, 4, 2])],
}


@pytest.fixture
def checked(monkeypatch):
    monkeypatch.setenv("CHAINRULE_CHECK", "1")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_right_programs_run(name, checked):
    graph = trace(FUNCTIONS[name], [asarray(X)])
    values = [X, *(x.data for x in graph.captured)]
    (found,) = NativeProgram(graph).run(values)
    np.testing.assert_allclose(found, graph.evaluate(values)[0], rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_tensor_that_is_one_element_short_is_noticed(name, checked, monkeypatch):
    monkeypatch.setattr(Lowering, "_extent", lambda self, tensor: tensor.size - 1)
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    graph = trace(FUNCTIONS[name], [asarray(X)])
    with pytest.raises(CompilerError, match="outside of a tensor"):
        NativeProgram(graph).run([X, *(x.data for x in graph.captured)])
