"""Loops that compute the rows of sequences that are not over, and no others."""

import numpy as np
import pytest
from pass_programs import traced

import chainrule as cr
from chainrule import nn, optim
from chainrule.autodiff import grad
from chainrule.nn.recurrent_lengths import leading_rows
from chainrule.program.compiler.lowering.bounded_loops import row_counts
from chainrule.program.compiler.passes import import_graph, run_passes
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.row_bounds import bounds

RNG = np.random.default_rng(5)
STEPS, BATCH, N = 34, 16, 3  # enough rows for the sum of products to be taken in blocks


def draw(*shape):
    return (RNG.normal(size=shape) * 0.5).astype(np.float32)


def loss(layer, x, lengths):
    y, last = layer(x, lengths=lengths)
    return (y**2).sum() + (last * 0.3).sum()


@pytest.fixture(scope="module")
def step():
    """Gradients of a layer, compiled once; lengths are data."""
    return cr.compile(lambda m, x, n: cr.value_and_grad(loss, argnums=(0, 1))(m, x, n))


def layer():
    cr.random.seed(1)
    return nn.GRU(N, 5)


LENGTHS = {
    "of all kinds": RNG.integers(1, STEPS + 1, BATCH),
    "full": np.full(BATCH, STEPS),
    "none": np.zeros(BATCH, int),
    "one": np.array([0] * 5 + [STEPS] + [0] * 10),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_gradients_agree_with_the_interpreters(step, name):
    model, x, lengths = layer(), draw(STEPS, BATCH, N), LENGTHS[name]
    wanted, (gradients, by_input) = cr.value_and_grad(loss, argnums=(0, 1))(model, x, lengths)
    found, (own, own_by_input) = step(model, x, lengths)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(own_by_input, by_input, rtol=1e-4, atol=1e-5)
    for key, value in gradients.items():
        np.testing.assert_allclose(own[key], value, rtol=1e-4, atol=2e-5, err_msg=key)


def test_steps_of_sequences_that_are_over_are_not_computed(step):
    model, x = layer(), draw(STEPS, BATCH, N)
    lengths = np.repeat([34, 20, 7, 2], 4)  # a part of four rows ends at once
    poisoned = x.copy()
    poisoned[np.arange(STEPS)[:, None] >= lengths] = np.nan
    (clean, gradients), (value, own) = step(model, x, lengths), step(model, poisoned, lengths)
    assert value.item() == clean.item()
    for key, one in gradients[0].items():
        if step.engine == "compiler":  # the interpreter multiplies them by 0
            np.testing.assert_array_equal(own[0][key], one)


def test_the_bits_are_the_same_on_any_number_of_threads(step):
    model, x, lengths = layer(), draw(STEPS, BATCH, N), LENGTHS["of all kinds"]
    found = []
    for threads in (1, 2):
        cr.set_num_threads(threads)
        found.append(step(model, x, lengths)[1][0])
    cr.set_num_threads(None)
    for key, value in found[0].items():
        np.testing.assert_array_equal(found[1][key], value)


def recurrence(mix):
    def function(h, xs, w, n):
        def step(h, slices):
            x, n = slices
            h = leading_rows(h, n)
            rows = cr.arange(BATCH).reshape((BATCH, 1)) < n
            new = cr.tanh(h @ w + x - (h.mean(axis=0) if mix else 0.0))
            return cr.where(rows, new, h), new

        last, ys = cr.scan(step, h, (xs, n))
        valid = cr.arange(BATCH).reshape((1, BATCH, 1)) < n.reshape((STEPS, 1, 1))
        return cr.sum(cr.where(valid, ys, 0.0) ** 2) + cr.sum(last)

    return function


def arrays():
    n = np.sort(RNG.integers(0, BATCH + 1, STEPS))[::-1].copy()
    return [draw(BATCH, N), draw(STEPS, BATCH, N), draw(N, N), n]


def test_passes_keep_the_bound_and_products_in_the_loop():
    graph, values = traced(grad(recurrence(False), argnums=(0, 1, 2)), arrays())
    wanted = evaluate_block(import_graph(graph), values)
    block = run_passes(import_graph(graph), verify=True)
    for x, y in zip(evaluate_block(block, values), wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    loops = [x for x in block.instructions if x.op.name == "scan"]
    assert [len(bounds(x.bodies["body"])) for x in loops] == [1, 1, 1]
    assert [row_counts(x) for x in loops] == [(4, 8, 12, 16), (4, 8, 12, 16), ()]
    packed = loops[-1]  # the gradient of w, over blocks of the rows that count
    assert packed.attributes["length"] == -(-STEPS * BATCH // 256)


def test_a_step_that_mixes_rows_is_computed_for_all():
    graph, _ = traced(recurrence(True), arrays())
    block = run_passes(import_graph(graph), verify=True)
    (loop,) = [x for x in block.instructions if x.op.name == "scan"]
    assert row_counts(loop) == ()


class Reader(nn.Module):
    """Texts of several lengths, filled up with 0, to classes."""

    def __init__(self):
        self.words = nn.Embedding(11, 4)
        self.memory = nn.LSTM(4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, words):
        lengths = (words != 0).astype("int64").sum(axis=1)
        _, (h, _) = self.memory(self.words(words.T), lengths=lengths)
        return self.head(h[0])


def trained(engine):
    rng = np.random.default_rng(2)
    words = rng.integers(1, 11, (40, 7)) * (np.arange(7) < rng.integers(1, 8, (40, 1)))
    labels = (words[:, 0] > 5).astype(int)
    cr.random.seed(3)
    model, optimizer = Reader(), optim.Adam(1e-2)

    def step(model, optimizer, words, labels):
        value, gradients = cr.value_and_grad(lambda m: nn.cross_entropy(m(words), labels))(model)
        optimizer.update(model, gradients)
        return value

    order = rng.integers(0, 40, (3, 20))
    losses = cr.run_steps(step, [model, optimizer], [words, labels], order, engine=engine)
    return np.asarray(losses), {k: v.numpy() for k, v in model.state_dict().items()}


def test_steps_of_training_agree_with_the_interpreters():
    losses, weights = trained(None)
    wanted, wanted_weights = trained("interpreter")
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    for name, value in weights.items():
        np.testing.assert_allclose(value, wanted_weights[name], atol=2e-5, err_msg=name)
