"""Modules that are compiled in parts give the same machine code and the same bits."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

jit = pytest.importorskip("chainrule.program.compiler.llvm.jit")

from chainrule.program.compiler.llvm import objects, parts  # noqa: E402
from chainrule.program.compiler.llvm.builder import Builder  # noqa: E402
from chainrule.program.compiler.llvm.module import Module  # noqa: E402
from chainrule.program.compiler.target import host_target  # noqa: E402


@pytest.fixture
def eager(monkeypatch):
    """Everything is cut, into as many parts as there may be."""
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    monkeypatch.setattr(parts, "WORTH_A_PART", 1)
    monkeypatch.setattr(parts, "COPIED", 0)
    monkeypatch.setattr(objects, "available_cores", lambda: 3)


def add(module, name, constant, *called, internal=True):
    b = Builder(module, name, [("ptr", "p")], internal=internal)
    b.store(b.i64(constant), b.parameters[0])
    for other in called:
        b.call_own(other, b.parameters[0])
    b.finish()


@pytest.fixture
def module():
    made = Module(host_target())
    for number in range(4):
        add(made, f"kernel{number}", number)
    add(made, "both", 9, "kernel1", "kernel3")
    add(made, "program", 5, "kernel0", "kernel2", "both", internal=False)
    return made


def test_every_function_is_in_one_part(module, eager):
    texts = parts.cut(module, 3)
    assert len(texts) == 3
    for name in module.functions:
        assert sum(f"define void @{name}(" in text for text in texts) == 1
    assert "define void @program(" in texts[0]
    assert not any("internal" in text for text in texts)
    library = jit.load(jit.emit_objects(texts, host_target()), ["program"])
    assert library.addresses["program"]


def test_small_functions_are_copied(module, monkeypatch, eager):
    monkeypatch.setattr(parts, "COPIED", len(module.functions["both"]))
    first, second = parts.cut(module, 2)
    assert "define void @program(" in first
    assert "declare void @both(ptr)" in first
    assert "define internal void @kernel2(" in first
    assert "define internal void @kernel1(" in second


def test_short_modules_and_single_cores_stay_whole(module):
    assert parts.cut(module, 8) == [str(module)]


def test_without_llvmlites_insides_it_is_done_one_by_one(module, monkeypatch, eager):
    monkeypatch.setattr(jit, "_unlocked_emit", lambda: None)
    assert all(jit.emit_objects(parts.cut(module, 3), host_target()))


def test_without_more_threads_it_is_done_on_this_one(module, monkeypatch, eager):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(jit.threading.Thread, "start", start)
    assert all(jit.emit_objects(parts.cut(module, 3), host_target()))


def test_a_refused_part_is_an_error(eager):
    from chainrule.errors import CompilerError

    with pytest.raises(CompilerError):
        jit.emit_objects(["define void @a() {\n ret void\n}", "nonsense"], host_target())


def test_the_same_bits(eager, monkeypatch):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4))
    x = rng.normal(size=(5, 1, 6, 6)).astype("f")

    def gradients(model, x):
        return cr.grad(lambda m: (m(x) ** 2).sum())(model)

    cut = cr.compile(gradients)(model, x)
    monkeypatch.setattr(objects, "available_cores", lambda: 1)
    whole = cr.compile(gradients)
    for name, expected in whole(model, x).items():
        np.testing.assert_array_equal(cut[name].numpy(), expected.numpy())
    (program,) = whole.programs.values()
    if program.engine == "compiler":
        assert len(program.native.code.compiled.parts) == 1
