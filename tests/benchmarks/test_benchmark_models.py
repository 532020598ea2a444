"""Networks and calls of the benchmarks: the counts that are stated, the same work everywhere."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.driver import Measured
from benchmarks.models import CALLS, STEPS
from benchmarks.orders import named_weight
from benchmarks.peers import PEERS, find, fits, open_calls, open_training
from benchmarks.workloads import WORKLOADS

from benchmarks import agreement

SMALL_OPERANDS = {
    "conv-forward": {"x": (2, 3, 6, 6), "w": (4, 3, 3, 3)},
    "conv-input": {"g": (2, 3, 6, 6), "w": (3, 3, 3, 3)},
    "conv-weight": {"g": (2, 3, 6, 6), "x": (2, 3, 6, 6)},
    "mobilenet": {"x": (2, 32, 4, 4)},
    "attention": dict.fromkeys("qkv", (1, 2, 6, 4)),
    "lenet-1": {"x": (1, 1, 28, 28)},
}
OURS = {"n_threads": 1, "engine": "interpreter"}


def small_call(name):
    return replace(CALLS[name], operands=SMALL_OPERANDS.get(name, CALLS[name].operands))


@pytest.mark.parametrize("name", STEPS)
def test_parameters_and_multiply_adds_are_those_of_the_model(name):
    from benchmarks.peers.chainrule_models import MODELS

    steps = STEPS[name]
    model = MODELS[steps.model]()
    assert model.n_parameters == steps.parameters
    if steps.has_pictures:
        summary = model.summary(steps.input_shape)
        assert summary.multiply_adds == steps.multiply_adds
        first = next(row for row in summary.rows if row.multiply_adds)
        assert first.multiply_adds == steps.first_multiply_adds


@pytest.mark.parametrize("name", STEPS)
def test_data_have_a_label_for_every_prediction(name):
    steps = replace(STEPS[name], samples=40, batch=8)
    inputs, labels = steps.data()
    assert inputs.shape == (40, *steps.input_shape)
    assert labels.shape == ((40,) if steps.has_pictures else inputs.shape)
    assert 0 <= labels.min() <= labels.max() < steps.classes
    assert steps.order(7).shape == (7, 8)
    assert steps.data_bytes == inputs.nbytes + labels.nbytes


def test_weights_depend_on_their_names_alone():
    first = named_weight("c1.weight", (6, 1, 5, 5))
    np.testing.assert_array_equal(first, named_weight("c1.weight", (6, 1, 5, 5)))
    assert not np.array_equal(first, named_weight("c2.weight", (6, 1, 5, 5)))
    assert first.std() == pytest.approx(0.2, rel=0.2)
    assert named_weight("bn1.weight", (64,)).mean() == pytest.approx(1.0, abs=0.05)


def test_every_workload_is_done_by_chainrule_and_one_peer_at_least():
    for workload in WORKLOADS.values():
        doing = [peer for peer in PEERS if fits(peer, workload)]
        assert "chainrule" in doing
        assert "torch" in doing
        assert not [peer for peer in doing if workload.kind not in find(peer).drivers]
    assert fits("torch-last", STEPS["lenet"])
    assert not fits("torch-last", STEPS["gpt"])
    assert fits("onnxruntime", CALLS["lenet-1"])
    assert not fits("onnxruntime", CALLS["attention"])


@pytest.mark.peer
@pytest.mark.parametrize("name", STEPS)
def test_chainrule_and_pytorch_take_the_same_steps(name):
    pytest.importorskip("torch")
    steps = replace(STEPS[name], samples=8, batch=2)
    data, order = steps.data(), steps.order(2)
    losses = {}
    for peer in ("exact", "torch", "chainrule"):
        training = open_training(peer, steps, data, **OURS)
        losses[peer] = training.run(training.order(order))
    assert losses["exact"][0] != losses["exact"][1]
    for peer in ("torch", "chainrule"):
        np.testing.assert_allclose(losses[peer], losses["exact"], rtol=1e-4)


@pytest.mark.peer
@pytest.mark.parametrize("name", [*SMALL_OPERANDS, "generation"])
def test_chainrule_and_pytorch_give_the_same_results(name):
    pytest.importorskip("torch")
    call = small_call(name)
    results = {}
    for peer in ("exact", "torch", "chainrule"):
        results[peer] = open_calls(peer, call, **OURS).run(3)
    largest = np.abs(results["exact"]).max()
    for peer in ("torch", "chainrule"):
        assert results[peer].shape == results["exact"].shape
        assert np.abs(results[peer] - results["exact"]).max() < 1e-5 * largest


@pytest.mark.peer
@pytest.mark.parametrize("name", ["gpt", "char-lstm", "gru"])
def test_jax_and_pytorch_take_the_same_steps(name):
    pytest.importorskip("jax")
    pytest.importorskip("torch")
    steps = replace(STEPS[name], samples=8, batch=2)
    data, order = steps.data(), steps.order(2)
    losses = {}
    for peer in ("exact", "jax-jit", "jax-scan"):
        training = open_training(peer, steps, data, **OURS)
        losses[peer] = training.run(training.order(order))
    for peer in ("jax-jit", "jax-scan"):
        np.testing.assert_allclose(losses[peer], losses["exact"], rtol=1e-4)


@pytest.mark.peer
@pytest.mark.parametrize(("name", "count"), [("lenet-1", 1), ("generation", 3)])
def test_onnx_runtime_gives_the_same_answers(name, count):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    call = CALLS[name]
    ours, theirs = (open_calls(p, call, **OURS).run(count) for p in ("chainrule", "onnxruntime"))
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_results_that_differ_are_said():
    call, steps = CALLS["attention"], STEPS["lenet"]
    assert agreement.verdict("torch", call, Measured(error=1e-5), None).equal
    assert not agreement.verdict("torch", call, Measured(error=0.1), None).equal
    unchecked = agreement.verdict("chainrule", call, Measured(), None)
    assert unchecked.equal
    assert unchecked.why == agreement.UNCHECKED
    reference = np.array([2.3, 2.2])
    assert agreement.verdict("torch", steps, Measured(losses=[2.3, 2.2, 1.0]), reference).equal
    assert not agreement.verdict("torch", steps, Measured(losses=[2.3, 2.1]), reference).equal
    assert not agreement.verdict("torch", steps, Measured(losses=[2.3]), reference).equal
