"""``gradients``: what it returns, what it refuses, how deep it goes."""

import inspect
import resource

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.array import asarray, trace, variable
from chainrule.autodiff import grad, gradients, value_and_grad
from chainrule.errors import GradientError
from chainrule.graph import topological


def test_one_or_several_in_order():
    x, y = variable(2.0), variable(3.0)
    loss = x * x * y
    assert float(gradients(loss, x)) == 12.0
    assert [float(g) for g in gradients(loss, [y, x, y])] == [4.0, 12.0, 4.0]
    assert gradients(loss, []) == []


def test_values_between_and_the_loss_itself():
    x = variable(2.0)
    y = x * x
    loss = y * 3.0
    assert [float(g) for g in gradients(loss, [x, y, loss])] == [12.0, 3.0, 1.0]


def test_operands_keep_order_and_repeats():
    x = variable(3.0)
    square = x * x
    assert [operand.node for operand in square.node.inputs] == [x.node, x.node]
    assert float(gradients(square, x)) == 6.0
    assert float(gradients(x - x, x)) == 0.0
    assert float(gradients(x / x, x)) == 0.0
    y = variable(5.0)
    assert [v.node for v in (y - x).node.inputs] == [y.node, x.node]
    assert [float(g) for g in gradients(y - x, [x, y])] == [-1.0, 1.0]


def test_shared_values_are_counted_once_for_each_use():
    x = variable(2.0)
    shared = x * 3.0
    loss = shared * shared + shared
    assert float(gradients(loss, x)) == 39.0


def test_gradients_are_graphs():
    x = variable(1.0)
    g = gradients(ops.sin(x), x)
    for expected in (np.cos(1), -np.sin(1), -np.cos(1), np.sin(1)):
        assert float(g) == pytest.approx(expected, rel=1e-6)
        g = gradients(g, x)


def test_the_same_bits_twice():
    rng = np.random.default_rng(0)
    w, x = variable(rng.normal(size=(5, 4))), asarray(rng.normal(size=(7, 5)))

    def loss(w):
        return ops.mean(ops.tanh(x @ w) ** 2)

    first, second = grad(loss)(w).numpy(), grad(loss)(w).numpy()
    assert first.tobytes() == second.tobytes()
    assert gradients(loss(w), w).numpy().tobytes() == first.tobytes()


def test_what_is_recorded_says_what_it_is_the_derivative_of():
    x = variable(2.0)
    line = inspect.currentframe().f_lineno + 1
    y = ops.exp(x)
    g = gradients(y * 3.0, x)
    nodes = [n for n in topological([g]) if n.origin.derivative_of == y.node.serial]
    assert nodes
    assert all(n.origin.line == line for n in nodes)
    assert f"derivative of node %{y.node.serial}" in str(nodes[0].origin)


def test_shapes_and_types_of_gradients():
    x = variable(np.ones((2, 1), np.float16))
    y = variable(np.ones(3))
    found = gradients((x * y).sum(), [x, y])
    assert [(g.shape, g.dtype) for g in found] == [(x.shape, x.dtype), (y.shape, y.dtype)]
    assert gradients((x * 1.0).sum(keepdims=True), x).shape == (2, 1)


# --- refusals ---------------------------------------------------------------------------------


def refusal(call, match):
    with pytest.raises(GradientError, match=match) as caught:
        call()
    assert "test_gradients.py" in caught.value.where
    assert caught.value.fix
    return str(caught.value)


def test_a_loss_must_be_one_floating_number():
    x = variable([1.0, 2.0])
    refusal(lambda: gradients(x * 2, x), "one floating number")
    refusal(lambda: gradients(ops.sum(ops.astype(x, "int64")), x), "one floating number")
    with pytest.raises(GradientError, match="no Array"):
        gradients(3.0, x)


def test_a_cut_loss_has_no_history_and_the_line_is_named():
    x = variable(2.0)
    loss, _ = value_and_grad(lambda x: x * x)(x)
    line = inspect.currentframe().f_lineno - 1
    text = refusal(lambda: gradients(loss, x), "no history")
    assert f"test_gradients.py:{line}" in text
    restored = variable(x * x)
    refusal(lambda: gradients(restored, x), "no history")


def test_a_plain_value_is_refused_whether_or_not_it_was_looked_at():
    x = asarray(2.0)
    y = x * x
    refusal(lambda: gradients(y, x), "plain")
    y.numpy()
    refusal(lambda: gradients(y, x), "plain")
    refusal(lambda: gradients(variable(1.0) * 2, 3.0), "plain float")


def test_integers_have_no_derivative():
    n = variable(np.array([1, 2]))
    refusal(lambda: gradients((n * 1.5).sum(), n), "holds int64")
    refusal(lambda: grad(lambda n: n * 1.5)(2), "no derivative|holds int64")


@pytest.mark.parametrize(
    "path",
    [
        lambda x, other: other * 2.0,
        lambda x, other: ops.stop_gradient(x) * other,
        lambda x, other: ops.astype(ops.astype(x, "int32"), "float32") * other,
        lambda x, other: ops.astype(ops.argmax(ops.stack([x, other])), "float32") * other,
    ],
)
def test_what_the_loss_does_not_depend_on(path):
    x, other = variable(2.0, name="forgotten"), variable(3.0)
    text = refusal(lambda: gradients(path(x, other), x), "does not depend on 'forgotten'")
    assert "stop_gradient" in text


def test_a_copy_is_another_array():
    x = variable(2.0, name="x")
    y = variable(x)
    refusal(lambda: gradients(y * y, x), "does not depend on 'x'")


# --- depth and memory -------------------------------------------------------------------------


def test_a_chain_of_20000_nodes_differentiates():
    x = y = variable(1.5)
    for _ in range(20_000):  # twenty times what Python's stack holds
        y = y * 1.00005
    g = gradients(y, x)
    assert float(g) == pytest.approx(1.00005**20_000, rel=1e-2)
    assert float(y) == pytest.approx(1.5 * 1.00005**20_000, rel=1e-2)


def test_a_wide_and_shared_graph_is_walked_once():
    x = y = variable(1.0)
    for _ in range(64):  # 2⁶⁴ paths
        y = (y + y) * 0.5
    assert float(gradients(y, x)) == 1.0


def steps(count):
    data = asarray(np.random.default_rng(0).normal(size=50).astype(np.float32))
    w = variable(np.zeros(50, np.float32), name="w")
    for _ in range(count):
        loss = ((w - data) ** 2).sum()
        w = cr.variable(w - 0.1 * gradients(loss, w), name="w")
    return w, data


def test_steps_by_hand_keep_no_history():
    w, data = steps(100)
    assert not w.node.inputs
    np.testing.assert_allclose(w.numpy(), data.numpy(), rtol=1e-5)


@pytest.mark.slow
def test_100000_steps_by_hand_run_at_flat_memory():
    steps(1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps(100_000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000, f"{grown} KiB more"


def test_walks_need_no_stack():
    graph = trace(lambda x: [chain(x, 20_000)], [((), "float64")])
    assert graph.evaluate([np.float64(1.0)])[0] == 20_001.0
    assert len(graph.apply([asarray(2.0, dtype="float64")])) == 1


def chain(x, count):
    for _ in range(count):
        x = x + 1.0
    return x
