"""The character LSTM beside the same model in PyTorch: ``python -m benchmarks.char_lstm_in_torch``.

For each seed both begin with the same weights and see the same windows of Shakespeare; Adam, the
gradient's norm bounded by 1. Prints the loss over part of the validation text at the end, and how
far apart the training losses were on the way.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import chainrule as cr
from benchmarks.recipes_in_torch import same_weights
from chainrule import data, models, optim

RATE, BATCH, LENGTH, WIDTH = 3e-3, 16, 32, 128


class CharLSTM(nn.Module):
    """Names as in ``models.LanguageRNN``."""

    def __init__(self, vocabulary_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.rnn = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary_size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of the next token for each place."""
        return self.head(self.rnn(self.embedding(tokens))[0])


def step(model: Any, optimizer: Any, windows: Any) -> Any:
    """One of chainrule's training steps on windows that hold a token more than they are long."""

    def loss(m: Any) -> Any:
        return cr.nn.cross_entropy(m(windows[:, :-1]), windows[:, 1:], axis=-1)

    value, gradients = cr.value_and_grad(loss)(model)
    optimizer.update(model, optim.clip_by_global_norm(gradients, 1.0)[0])
    return value


def ours(model: Any, windows: np.ndarray) -> np.ndarray:
    """Train; the losses."""
    order = np.arange(len(windows)).reshape(-1, BATCH)
    return np.asarray(cr.run_steps(step, [model, optim.Adam(RATE)], [windows], order))


def theirs(network: nn.Module, windows: np.ndarray) -> np.ndarray:
    """Train in PyTorch; the losses."""
    optimizer = torch.optim.Adam(network.parameters(), RATE, fused=True)
    losses = []
    for rows in torch.from_numpy(windows).split(BATCH):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def held_out(network: nn.Module, windows: np.ndarray) -> float:
    """Mean loss over windows of the validation text."""
    rows = torch.from_numpy(windows)
    with torch.no_grad():
        logits = network(rows[:, :-1]).flatten(0, 1)
        return F.cross_entropy(logits, rows[:, 1:].flatten()).item()


def compare(seed: int, steps: int) -> tuple[float, float, np.ndarray]:
    """Losses over the validation text, ours and theirs, and the differences on the way."""
    tokenizer = data.CharacterTokenizer.fit(data.shakespeare("all"))
    train = tokenizer.encode(data.shakespeare("train")).astype(np.int64)
    text = tokenizer.encode(data.shakespeare("validation")).astype(np.int64)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(train) - LENGTH - 1, steps * BATCH)
    windows = train[starts[:, None] + np.arange(LENGTH + 1)]
    rows = 512
    shown = text[: rows * (LENGTH + 1)].reshape(rows, LENGTH + 1)
    cr.random.seed(seed)
    model = models.LanguageRNN(tokenizer.size, WIDTH, WIDTH)
    network = CharLSTM(tokenizer.size, WIDTH)
    same_weights(network, model, "")
    apart = np.abs(ours(model, windows) - theirs(network, windows))
    trained = CharLSTM(tokenizer.size, WIDTH)
    same_weights(trained, model, "")
    return held_out(trained, shown), held_out(network, shown), apart


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = []
    for seed in range(given.seeds):
        own, other, apart = compare(seed, given.steps)
        found.append((own, other))
        first = apart[: min(50, len(apart))].max()
        print(
            f"seed {seed}: chainrule {own:.4f}, PyTorch {other:.4f}; training losses apart by at "
            f"most {first:.1e} in the first steps, {apart.max():.1e} in all",
            flush=True,
        )
    means, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=min(1, len(found) - 1))
    print(
        f"means: chainrule {means[0]:.4f} ± {spread[0]:.4f}, PyTorch {means[1]:.4f} ± "
        f"{spread[1]:.4f}; {given.steps} steps, deviation between seeds"
    )


if __name__ == "__main__":
    main()
