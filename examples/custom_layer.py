"""Layers of your own: a recurrent one made with scan, and one with binary weights by custom_vjp."""

import numpy as np

import chainrule as cr
from chainrule import nn, optim


class Recurrent(nn.Module):
    """h ← tanh(W x + U h + b) over time; the last h is the output."""

    def __init__(self, n_inputs, n_units):
        self.from_input = nn.Linear(n_inputs, n_units)
        self.again = nn.Parameter(nn.init.orthogonal((n_units, n_units)))

    def forward(self, x):
        """(batch, time, inputs) → (batch, units)."""
        projected = self.from_input(x)  # one product for all times, before the loop

        def advance(h, now):
            return cr.tanh(now + h @ self.again), None

        start = cr.zeros((x.shape[0], self.again.shape[0]), dtype=projected.dtype)
        last, _ = cr.scan(advance, start, cr.moveaxis(projected, 1, 0))
        return last


@cr.custom_vjp
def binary(w):
    return cr.where(w >= 0, 1.0, -1.0)


# the sign has derivative 0; pretend that it is the identity where |w| ≤ 1 (straight through)
binary.define(
    forward=lambda w: (cr.where(w >= 0, 1.0, -1.0), w),
    backward=lambda w, g: (cr.where(cr.abs(w) <= 1, g, 0.0),),
)


class BinaryLinear(nn.Module):
    """A product with weights that are +1 or −1; the real ones behind them learn."""

    def __init__(self, n_inputs, n_outputs):
        self.weight = nn.Parameter(nn.init.glorot_uniform((n_outputs, n_inputs)))

    def forward(self, x):
        """(batch, inputs) → (batch, outputs)."""
        return x @ binary(self.weight).T / np.sqrt(self.weight.shape[1])


# are there more +1 than −1 in a row of 15?
rng = np.random.default_rng(0)
signs = rng.choice([-1.0, 1.0], (1500, 15, 1)).astype("f")
labels = (signs.sum(axis=(1, 2)) > 0).astype(int)

cr.random.seed(0)
model = nn.Sequential(Recurrent(1, 16), BinaryLinear(16, 2))
trainer = cr.Trainer(
    model,
    loss=nn.CrossEntropyLoss(),
    optimizer=optim.Adam(0.01, max_norm=1.0),
    metrics=["accuracy"],
    batch_size=50,
)
trainer.fit((signs[:1000], labels[:1000]), epochs=15, progress="none")
accuracy = trainer.evaluate((signs[1000:], labels[1000:]))["accuracy"]
print(f"{model.n_parameters} parameters, {accuracy:.1%} of unseen rows")
assert accuracy > 0.95
assert set(np.unique(binary(model[1].weight))) == {-1.0, 1.0}

# the derivative through time agrees with finite differences
small = Recurrent(2, 3).astype("float64")
cr.check_gradients(lambda m, x: m(x).sum(), (small, rng.normal(size=(4, 5, 2))))
