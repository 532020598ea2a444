"""The cache's two levels: graphs find their code, and texts of LLVM are compiled once."""

from pathlib import Path

import numpy as np
import pytest

from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.program.compiler import cache
from chainrule.program.compiler.cache import folder
from chainrule.program.compiler.llvm import jit, objects
from chainrule.program.compiler.native import NativeProgram

X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The folder of an empty cache."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    return Path(folder.location()) / "code"


@pytest.fixture
def compiled(monkeypatch):
    """Texts that LLVM compiled."""
    texts = []
    real = jit.emit_object

    def emit(text, target, level=3):
        texts.append(text)
        return real(text, target, level)

    monkeypatch.setattr(objects.jit, "emit_object", emit)
    return texts


def native(function):
    return NativeProgram(trace(function, [asarray(X)]))


def test_a_graph_that_is_known_is_neither_lowered_nor_compiled(code, compiled):
    first = native(lambda x: ops.tanh(x) * 2.0)
    again = native(lambda x: ops.tanh(x) * 2.0)
    assert (first.code.from_cache, again.code.from_cache) == (False, True)
    assert len(compiled) == 1
    np.testing.assert_array_equal(first.run([X])[0], again.run([X])[0])


def test_other_graphs_of_the_same_text_are_lowered_only(code, compiled):
    """Adding zero is cleaned away: another graph, the same code."""
    first = native(lambda x: ops.tanh(x) * 2.0)
    other = native(lambda x: (ops.tanh(x) * 2.0) * 1.0)
    assert not other.code.from_cache
    assert other.code.compiled.key == first.code.compiled.key
    assert len(compiled) == 1


@pytest.mark.parametrize("level", ["graph", "ir"])
def test_either_level_may_be_lost(code, compiled, level):
    expected = native(lambda x: ops.exp(x)).run([X])[0]
    for path in code.glob(f"{level}-*"):
        path.unlink()
    again = native(lambda x: ops.exp(x))
    assert not again.code.from_cache
    assert len(compiled) == (1 if level == "graph" else 2)
    np.testing.assert_array_equal(again.run([X])[0], expected)
    assert native(lambda x: ops.exp(x)).code.from_cache
    assert cache.lookup(again.code.compiled.key) is not None
