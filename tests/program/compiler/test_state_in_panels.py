"""State between stretches of steps: it stays in panels until somebody looks at it."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.program.compiler.machine import PanelRecord
from chainrule.program.compiler.panels import PanelBuffer, panel_elements, to_panels


@pytest.mark.parametrize("shape", [(48, 7), (50, 33), (1, 20)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_buffer_of_panels_shows_the_matrix(shape, axis):
    matrix = np.random.default_rng(0).normal(size=shape).astype("f")
    record = PanelRecord(shape, axis, 16)
    memory = np.full(panel_elements(record), np.nan, "f")
    to_panels(record, matrix, memory)
    buffer = PanelBuffer(record, memory)
    assert (buffer.shape, buffer.dtype) == (shape, np.float32)
    assert buffer.panels(record) is memory
    assert buffer.panels(PanelRecord(shape, axis, 8)) is None
    np.testing.assert_array_equal(buffer.data, matrix)
    assert buffer.data is buffer.data
    assert buffer.panels(record) is None, "the matrix has taken their place"


def train(stretches, look):
    cr.random.seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 40)).astype("f"), rng.integers(0, 5, 64)
    model = nn.Sequential(nn.Linear(40, 70), nn.ReLU(), nn.Linear(70, 5))
    optimizer = optim.Adam(0.01)
    order = np.stack([rng.permutation(64)[:16] for _ in range(12)])

    @cr.compile(engine="compiler")
    def step(model, optimizer, x, y):
        loss, gradients = cr.value_and_grad(lambda m: nn.functional.cross_entropy(m(x), y))(model)
        optimizer.update(model, gradients)
        return loss

    seen = []
    for part in np.split(order, stretches):
        held = model.state_dict()
        cr.run_steps(step, [model, optimizer], [x, y], part)
        if look:
            seen.append((held, {k: v.numpy().copy() for k, v in held.items()}))
    for held, copies in seen:
        for name, copy in copies.items():
            np.testing.assert_array_equal(held[name].numpy(), copy)
    return {k: v.numpy() for k, v in model.state_dict().items()}


def test_stretches_looked_at_or_not_end_with_the_same_bits():
    whole = train(1, look=False)
    for stretches, look in [(4, False), (4, True), (12, True)]:
        for name, value in train(stretches, look).items():
            np.testing.assert_array_equal(value, whole[name])


def test_values_held_from_before_a_stretch_stay():
    x = np.random.default_rng(0).normal(size=(64, 40)).astype("f")

    def step(model, optimizer, x):
        loss, gradients = cr.value_and_grad(lambda m: (m(x) ** 2).mean())(model)
        optimizer.update(model, gradients)
        return loss

    def trained(stretches, engine):
        cr.random.seed(0)
        model, optimizer = nn.Linear(40, 70), optim.SGD(0.1)
        weights = []  # not looked at before the last steps have run
        for _ in range(stretches):
            cr.run_steps(
                step, [model, optimizer], [x], np.tile(np.arange(64), (3, 1)), engine=engine
            )
            weights.append(model.weight)
        return [w.numpy() for w in weights]

    first, second = trained(2, "compiler")
    np.testing.assert_allclose(first, trained(1, "interpreter")[0], rtol=1e-5, atol=1e-6)
    assert np.abs(first - second).max() > 1e-4
