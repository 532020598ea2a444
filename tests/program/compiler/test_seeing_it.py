"""What the compiler shows of itself: debug levels, profiles, memory, counted compilations."""

import logging
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, TeachingWarning, TracedValueError
from chainrule.program.compiler import debug

pytest.importorskip("llvmlite")


def loss_of(state, x, y):
    loss, gradient = cr.value_and_grad(lambda w: ((cr.tanh(x @ w) - y) ** 2).mean())(state["w"])
    state["w"] = state["w"] - 0.1 * gradient
    return loss


@pytest.fixture
def arguments():
    rng = np.random.default_rng(0)
    state = {"w": cr.asarray(rng.normal(size=(24, 5)).astype("f"))}
    return state, rng.normal(size=(16, 24)).astype("f"), rng.normal(size=(16, 5)).astype("f")


@pytest.fixture
def told(monkeypatch, caplog):
    """Sets the level, runs, and gives the lines that were told."""

    def run(level, action):
        monkeypatch.setenv("CHAINRULE_DEBUG", level)
        with caplog.at_level(logging.INFO, logger=debug.LOG):
            action()
        return [record.getMessage() for record in caplog.records]

    return run


def test_a_line_a_compilation(told, arguments):
    step = cr.compile(loss_of)
    lines = told("1", lambda: (step(*arguments), step(*arguments)))
    (line,) = lines
    assert line.startswith("loss_of, compilation 1 (1 float32[16, 24], 2 float32[16, 5]): ")
    assert line.endswith((", compiled", ", from the cache"))


def test_nothing_is_told_unasked(told, arguments):
    assert told("0", lambda: cr.compile(loss_of)(*arguments)) == []


def test_the_schedule_the_nests_and_the_code(told, arguments):
    text = "\n".join(told("4", lambda: cr.compile(loss_of)(*arguments)))
    for part in (
        "compiling loss_of",  # level 2
        "kernel0 multiply 16x24x5 tanh subtract",
        " task, ",
        "passes: ",
        "machine code: ",
        "as traced",  # level 3
        "after common_subexpressions",
        "define void @program(",  # level 4
        "\tret",
    ):
        assert part in text


def test_each_level_holds_those_below(told, arguments, caplog):
    seen = []
    for level in "123":
        caplog.clear()
        seen.append(told(level, lambda: cr.compile(loss_of)(*arguments)))
    assert len(seen[0]) < len(seen[1]) < len(seen[2])
    assert not any("define void" in line for line in seen[2])


@pytest.mark.parametrize("value", ["5", "yes", "-1"])
def test_a_level_that_does_not_exist(monkeypatch, value):
    monkeypatch.setenv("CHAINRULE_DEBUG", value)
    with pytest.raises(ArgumentError, match="CHAINRULE_DEBUG is no level"):
        debug.level()


def test_the_profile_of_a_call(arguments):
    step = cr.compile(loss_of)
    before = arguments[0]["w"].numpy().copy()
    profile = step.profile(*arguments, seconds=0.02)
    np.testing.assert_array_equal(arguments[0]["w"], before)
    product = profile.rows[0]
    assert product.title.startswith("multiply 16x24x5")
    assert product.flops >= 2 * 16 * 24 * 5
    assert product.where.startswith("test_seeing_it.py:")
    assert profile.rows[-1].title == "waiting for other threads"
    assert sum(row.share for row in profile.rows) == pytest.approx(1)
    assert sum(row.seconds for row in profile.rows) == pytest.approx(profile.seconds)
    assert profile.peak > 1e8
    text = str(profile)
    assert text.startswith("loss_of: ")
    assert max(map(len, text.splitlines())) <= 80


def test_the_profile_of_steps_leaves_everything_as_it_was(arguments):
    state, x, y = arguments
    before = state["w"].numpy().copy()
    order = np.arange(16).reshape(4, 4)
    profile = cr.profile_steps(loss_of, [state], [x, y], order, seconds=0.02)
    np.testing.assert_array_equal(state["w"], before)
    assert profile.n_steps >= 4
    assert profile.memory.state == 24 * 5 * 4


def test_the_memory_of_steps_is_known_before_the_first(arguments):
    state, x, y = arguments
    before = state["w"].numpy().copy()
    order = np.arange(16).reshape(4, 4)
    memory = cr.memory_of_steps(loss_of, [state], [x, y], order)
    np.testing.assert_array_equal(state["w"], before)
    assert memory.state == 24 * 5 * 4, "state is updated in place"
    assert memory.results == 4
    same = cr.profile_steps(loss_of, [state], [x, y], order, seconds=0.01).memory
    assert (memory.arena, memory.peak) == (same.arena, same.peak)
    with pytest.raises(ArgumentError, match="plans of memory show machine code"):
        cr.memory_of_steps(cr.compile(loss_of, engine="interpreter"), [state], [x, y], order)


def test_memory_is_known_before_the_run(arguments):
    step = cr.compile(loss_of)
    memory = step.memory(*arguments)
    assert memory.state == 24 * 5 * 4
    assert memory.inputs >= (16 * 24 + 16 * 5) * 4
    assert memory.results == 24 * 5 * 4 + 4
    assert 16 * 5 * 4 <= memory.arena <= memory.values + 4096
    assert memory.peak == memory.state + memory.inputs + memory.results + memory.arena
    assert sum(memory.by_layer().values()) == memory.values
    assert max(map(len, str(memory).splitlines())) <= 80
    assert "values of each layer or line" in str(memory)


def test_interpreted_programs_have_neither(arguments):
    step = cr.compile(loss_of, engine="interpreter")
    with pytest.raises(ArgumentError, match="profiles show machine code"):
        step.profile(*arguments)
    with pytest.raises(ArgumentError, match="plans of memory show machine code"):
        step.memory(*arguments)
    with pytest.raises(ArgumentError, match="loss_of runs on the interpreter"):
        step.profile(*arguments)


def test_compilations_are_counted_shown_and_too_many_warn():
    double = cr.compile(lambda x: x * 2, engine="interpreter")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(1, 9):
            double(np.ones(n, np.float32))
            double(np.ones(n, np.float32))
    assert double.n_compilations == 8
    assert "8 signatures" in repr(double)
    with pytest.warns(TeachingWarning, match=r"9 signatures.*The last: 0 float32\[9\]\. Pad") as w:
        double(np.ones(9, np.float32))
    assert w[0].filename == __file__


def choose(x):
    return x * 2 if x.sum() > 0 else x


def loop(x):
    while x.sum() < 3:
        x = x * 2
    return x


@pytest.mark.parametrize(
    "function",
    [
        choose,
        loop,
        lambda x: x * float(x.sum()),
        lambda x: x * int(x.sum()),
        lambda x: x * np.asarray(x),
        lambda x: x * x.sum().item(),
        lambda x: f"{x.sum():.1f}",
    ],
    ids=["if", "while", "float", "int", "asarray", "item", "format"],
)
def test_asking_for_a_value_while_recording_names_the_line_and_the_way_out(function):
    line = function.__code__.co_firstlineno + (function.__name__ != "<lambda>")
    with pytest.raises(TracedValueError) as caught:
        cr.compile(function)(cr.asarray([1.0]))
    for part in ("cr.where", "cr.cond", "cr.while_loop", f"test_seeing_it.py:{line}"):
        assert part in str(caught.value)
