"""Long memory: an LSTM adds numbers 100 steps apart and copies words; a plain RNN does not."""

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.plots.figure import COLOURS, new_figure, plain_axes, save

LENGTH, SYMBOLS, DELAY, WORD = 100, 8, 30, 5
rng = np.random.default_rng(0)


def adding(n):
    """Numbers, two of them marked: what is their sum? (Hochreiter and Schmidhuber 1997)"""
    x = np.zeros((n, LENGTH, 2), np.float32)
    x[..., 0] = rng.uniform(size=(n, LENGTH))
    for half in range(2):
        x[np.arange(n), rng.integers(0, LENGTH // 2, n) + half * LENGTH // 2, 1] = 1
    return x, x.prod(axis=2).sum(axis=1)


def copying(n):
    """A word, a pause, a sign: now say the word."""
    word = rng.integers(0, SYMBOLS, (n, WORD))
    x = np.full((n, DELAY + 2 * WORD), SYMBOLS)
    x[:, :WORD], x[:, DELAY + WORD - 1] = word, SYMBOLS + 1
    return x, word


class Reader(nn.Module):
    """A layer with memory and a linear layer, which gives outputs at the last steps."""

    def __init__(self, layer, n_in, n_out, last):
        self.first = nn.Embedding(SYMBOLS + 2, n_in) if last > 1 else nn.Identity()
        self.memory = layer(n_in, 64, batch_first=True)
        self.head = nn.Linear(64, n_out)
        self.last = last

    def forward(self, x):
        """The last outputs."""
        return self.head(self.memory(self.first(x))[0][:, -self.last :])


def step(model, optimizer, x, y):
    def loss(m):
        if m.last == 1:
            return nn.functional.mse_loss(m(x)[:, 0, 0], y)
        return nn.functional.cross_entropy(m(x).reshape((-1, SYMBOLS)), y.reshape((-1,)))

    value, gradients = cr.value_and_grad(loss)(model)
    optimizer.update(model, optim.clip_by_global_norm(gradients, 1.0)[0])
    return value


def train(layer, task, rate, n_in, n_out, last, rounds):
    cr.random.seed(1)
    model, optimizer = Reader(layer, n_in, n_out, last), optim.Adam(rate)
    if layer is nn.LSTM:  # a forget gate that starts open
        model.memory.bias_hh_l0 = cr.asarray(np.repeat(np.float32([0, 2, 0, 0]), 64))
    order = np.arange(3200).reshape(100, 32)
    losses = [cr.run_steps(step, [model, optimizer], task(3200), order) for _ in range(rounds)]
    return np.concatenate(losses).reshape(-1, 50).mean(axis=1)


tasks = {"adding": (adding, 5e-3, 2, 1, 1, 20), "copying": (copying, 5e-3, 16, SYMBOLS, WORD, 20)}
chance = {"adding": 1 / 6, "copying": np.log(SYMBOLS)}
figure = new_figure(9, 3.4)
for axes, (name, settings) in zip(figure.subplots(1, 2), tasks.items(), strict=True):
    curves = {layer.__name__: train(layer, *settings) for layer in (nn.RNN, nn.LSTM)}
    for colour, (label, curve) in zip(COLOURS, curves.items(), strict=False):
        axes.semilogy(np.arange(1, len(curve) + 1) * 50, curve, color=colour, label=label)
    axes.axhline(chance[name], linestyle=":", label="without memory")
    plain_axes(axes, "steps", f"loss, {name}")
    axes.legend()
    print(name, {label: round(float(curve[-1]), 4) for label, curve in curves.items()})
    assert curves["LSTM"][-1] < 0.1 * chance[name]
    assert curves["RNN"][-1] > 0.5 * chance[name]
save(
    figure, "long_memory.png", "Losses of an RNN and an LSTM on adding and copying: only one falls"
)
