"""What ``checkpoint`` saves: a deep net's arena with and without it, and the same numbers."""

import numpy as np
import pytest

from chainrule import nn, ops, optim
from chainrule import random as cr_random
from chainrule.array import asarray
from chainrule.autodiff import checkpoint, value_and_grad
from chainrule.program import ENGINES, compile

DEPTH, WIDTH, BATCH = 16, 32, 512


class Deep(nn.Module):
    """Layers in a row; ``every`` of them make a block that is computed again for the gradient."""

    def __init__(self, every):
        self.layers = [nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)]
        self.every = every

    def forward(self, x):
        for start in range(0, DEPTH, self.every or DEPTH):
            layers = self.layers[start : start + (self.every or DEPTH)]

            def block(x, layers=layers):
                for layer in layers:
                    x = ops.tanh(layer(x))
                return x

            x = checkpoint(block)(x) if self.every else block(x)
        return x


def step(model, optimizer, x, y):
    loss, gradients = value_and_grad(lambda m: nn.functional.mse_loss(m(x), y))(model)
    optimizer.update(model, gradients)
    return loss


def trained(every):
    cr_random.seed(0)
    model, optimizer = Deep(every), optim.SGD(0.1)
    rng = np.random.default_rng(0)
    batch = [asarray(rng.normal(size=(BATCH, WIDTH)).astype("f")) for _ in range(2)]
    program = compile(step)
    memory = program.memory(model, optimizer, *batch)
    losses = [program(model, optimizer, *batch).item() for _ in range(3)]
    return memory, losses


@pytest.mark.skipif("compiler" not in ENGINES, reason="memory is planned by the compiler")
def test_checkpoints_halve_the_arena_of_a_deep_net_and_change_no_number():
    whole, losses = trained(0)
    saving, again = trained(4)
    assert saving.arena <= 0.5 * whole.arena
    assert saving.values > whole.values, "what is not kept is computed again"
    np.testing.assert_allclose(again, losses, rtol=1e-6)
