"""All passes together: values, the verifier after each, golden listings, random graphs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_programs import (
    CASES,
    DIFFERENTIABLE,
    PROGRAMS,
    apply_pass,
    assert_equal,
    case_graph,
    gradient_graph,
    names,
    traced,
    training_step,
)
from test_random_graphs import programs
from test_random_graphs import run as run_steps

import chainrule as cr
from chainrule.autodiff import grad, vmap
from chainrule.errors import CompilerError
from chainrule.program.compiler import passes
from chainrule.program.compiler.passes import (
    PASSES,
    Pass,
    import_graph,
    run_passes,
    verify_block,
)
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.walking import count_instructions


def assert_kept(graph, values, rtol=1e-13):
    """The passes, verified one by one, keep the values and settle."""
    block = import_graph(graph)
    run_passes(block, verify=True)
    assert_equal(evaluate_block(block, values), graph.evaluate(values), rtol)
    run_passes(block)  # deep chains of slices may want more rounds than one call has
    listing = str(block)
    run_passes(block)
    assert str(block) == listing


def test_every_op_and_its_gradient():
    for op, case in CASES:
        for dtype in op.dtypes:
            assert_kept(*case_graph(op, case, dtype), rtol=1e-2 if dtype.itemsize < 4 else 1e-6)
    for op, case in DIFFERENTIABLE:
        assert_kept(*gradient_graph(op, case))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    assert_kept(*PROGRAMS[name](), rtol=1e-5 if name == "training step" else 1e-13)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 10**6))
def test_random_graphs_and_their_gradients(steps, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(3, 2)), rng.normal(size=(2,))]

    def both(x, y):
        gradients = grad(lambda x, y: run_steps(steps, x, y), argnums=(0, 1))(x, y)
        return [run_steps(steps, x, y), *gradients]

    assert_kept(*traced(both, arrays), rtol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 10**6))
def test_random_graphs_in_batches(steps, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(3, 3, 2)), rng.normal(size=(2,))]
    batched = vmap(grad(lambda x, y: run_steps(steps, x, y)), in_axes=(0, None))
    assert_kept(*traced(batched, arrays), rtol=1e-9)


def test_each_pass_says_what_it_is_for():
    assert len({each.name for each in PASSES}) == len(PASSES)
    for each in PASSES:
        assert each.reason
        assert each.run.__module__.endswith(each.name)
        assert each.run.__doc__


def test_the_observer_sees_what_each_pass_changed():
    seen = []
    block = import_graph(training_step()[0])
    before = count_instructions(block)
    run_passes(block, observer=lambda each, block: seen.append((each.name, len(str(block)))))
    assert seen[0][0] == "canonical"
    assert {"common_subexpressions", "narrowing", "dead_code"} <= {name for name, _ in seen}
    assert count_instructions(block) < before


def test_a_pass_that_breaks_a_block_is_named(monkeypatch):
    def careless(block):
        block.instructions.pop(0)
        return True

    broken = [*PASSES[:2], Pass("careless", "to be caught", careless)]
    monkeypatch.setattr(passes, "PASSES", broken)
    block = import_graph(traced(lambda x: cr.exp(cr.sin(x)), [np.ones(2)])[0])
    with pytest.raises(CompilerError, match="after the pass careless"):
        run_passes(block, verify=True)


def test_nothing_to_do_is_found_in_one_round():
    block = import_graph(traced(cr.exp, [np.ones(2)])[0])
    assert run_passes(block, observer=lambda *_: pytest.fail("nothing changed")) is block
    verify_block(block)


# --- golden listings --------------------------------------------------------------------------


def listing(function, *arrays, rtol=1e-13):
    return str(apply_pass(run_passes, function, *arrays, rtol=rtol)).splitlines()


def test_the_listing_of_a_softmax():
    assert listing(lambda x: cr.nn.functional.softmax(x / 2.0, axis=-1), np.eye(2, 3)) == [
        "inputs %0: float64[2, 3]",
        "%1 = broadcast_to(0.5, shape=(2, 3))  float64[2, 3]",
        "%2 = multiply(%0, %1)  float64[2, 3]",
        "%3 = max(%2, axes=(1,))  float64[2]",
        "%4 = reshape(%3, shape=(2, 1))  float64[2, 1]",
        "%5 = broadcast_to(%4, shape=(2, 3))  float64[2, 3]",
        "%6 = subtract(%2, %5)  float64[2, 3]",
        "%7 = exp(%6)  float64[2, 3]",
        "%8 = sum(%7, axes=(1,))  float64[2]",
        "%9 = reshape(%8, shape=(2, 1))  float64[2, 1]",
        "%10 = broadcast_to(%9, shape=(2, 3))  float64[2, 3]",
        "%11 = divide(%7, %10)  float64[2, 3]",
        "return %11",
    ]


def test_the_listing_of_a_squared_error_and_its_gradient():
    def function(w, x, t):
        return grad(lambda w: cr.mean((x @ w.T - t) ** 2))(w)

    w, x, t = (np.random.default_rng(1).normal(size=s) for s in ((2, 3), (4, 3), (4, 2)))
    assert listing(function, w, x, t) == [
        "inputs %0: float64[2, 3], %1: float64[4, 3], %2: float64[4, 2]",
        "%3 = dot_general(%1, %0, contract=((1,), (1,)), batch=((), ()))  float64[4, 2]",
        "%4 = subtract(%3, %2)  float64[4, 2]",
        "%5 = broadcast_to(0.25, shape=(4, 2))  float64[4, 2]",
        "%6 = multiply(%4, %5)  float64[4, 2]",
        "%7 = dot_general(%6, %1, contract=((0,), (0,)), batch=((), ()))  float64[2, 3]",
        "return %7",
    ]


def test_an_update_computes_with_its_scalars_once():
    def function(p, g, rate, decay):
        return [p - cr.broadcast_to(rate, p.shape) * (1 - cr.broadcast_to(decay, p.shape)) * g]

    block = apply_pass(
        run_passes, function, np.ones((3, 4)), np.ones((3, 4)), np.array(0.1), np.array(0.2)
    )
    wide = [i.op.name for i in block.instructions if i.result.shape == (3, 4)]
    assert wide == ["broadcast_to", "multiply", "subtract"]
    assert names(block)[0] == "subtract"
