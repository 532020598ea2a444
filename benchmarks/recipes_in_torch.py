"""The recipes of ``chainrule train`` in PyTorch: ``python -m benchmarks.recipes_in_torch lenet5``.

Same data and variations, same model from the same initial weights, same optimizer, schedule and
batch size; only the order of the samples is another. Prints a line an epoch: how long it took and
what the network reaches then. ``--epochs 1`` measures one of many; the schedule stays the whole's.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.torch_networks import GPT, AllConvolutional, LeNet5, wide_mlp
from chainrule import random
from chainrule.cli.recipe import Recipe
from chainrule.cli.text_recipe import TextRecipe
from chainrule.data.augmentation import Augmented

PICTURES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "lenet5": (LeNet5, {"model": "lenet5"}),
    "allconv": (AllConvolutional, {"model": "allconv"}),
    "max-norm": (
        wide_mlp,
        {"model": "mlp", "hidden": (1024, 1024, 1024), "dropout": 0.5, "input_dropout": 0.2,
         "max_norm": 3.0, "epochs": 60},
    ),
}  # fmt: skip


def cosine(first: float, final: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    """Learning rate of each step: up in a line, down by half a cosine."""

    def rate(step: int) -> float:
        if step < warmup:
            return first * (step + 1) / (warmup + 1)
        share = min(1.0, (step - warmup) / max(1, steps - warmup))
        return final + (first - final) * 0.5 * (1 + math.cos(math.pi * share))

    return rate


def same_weights(network: nn.Module, model: Any, prefix: str) -> None:
    """Give a PyTorch network the weights of chainrule's model."""
    own = network.state_dict()
    given = {name.removeprefix(prefix): value for name, value in model.state_dict().items()}
    shared = {n: torch.from_numpy(np.array(given[n])) for n in own if n in given}
    missing = [n for n in own if n not in given and "num_batches" not in n]
    if missing:
        raise KeyError(f"no weights for {', '.join(missing)} among {', '.join(given)}")
    network.load_state_dict({**own, **shared})


class Training:
    """Epochs of a network, timed."""

    def __init__(self, network: nn.Module, rate: Callable[[int], float], optimizer: Any) -> None:
        self.network, self.rate, self.optimizer = network, rate, optimizer
        self.step = 0

    def epoch(
        self, batches: Iterator[Any], clip: Callable[[], Any], limit: Callable[[], Any]
    ) -> float:
        """Train on batches of inputs and labels; seconds it took.

        Args:
            batches: Pairs of arrays.
            clip: Called between the gradients and the step.
            limit: Called behind the step.
        """
        self.network.train()
        start = time.perf_counter()
        for inputs, labels in batches:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(self.step)
            self.optimizer.zero_grad(set_to_none=True)
            tensor = torch.from_numpy(inputs)
            logits = self.network(tensor if tensor.is_floating_point() else tensor.long())
            targets = torch.from_numpy(labels).long()
            F.cross_entropy(logits.flatten(0, -2), targets.flatten()).backward()
            clip()
            self.optimizer.step()
            limit()
            self.step += 1
        return time.perf_counter() - start


def pictures(name: str, epochs: int | None, seed: int) -> None:
    """Train a recipe for MNIST."""
    build, fields = PICTURES[name]
    recipe = Recipe.compose("mnist", seed=seed, **fields)
    parts = recipe.data()
    random.seed(seed)
    model = recipe.build_model(parts.train)
    mean, scale = (torch.from_numpy(np.array(x, np.float32)) for x in moments(parts.train.inputs))
    network = build()
    same_weights(network, model, "network.")
    steps = recipe.epochs * -(-len(parts.train) // recipe.batch_size)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(network.parameters(), recipe.learning_rate, fused=True)
    training = Training(network, cosine(recipe.learning_rate, 0.0, steps), optimizer)
    train = recipe.augmented(parts.train)
    draws = np.random.default_rng(seed)

    def standard(x: np.ndarray) -> np.ndarray:
        return (np.asarray(x, np.float32) - mean.numpy()) / scale.numpy()

    def batches(epoch: int) -> Iterator[Any]:
        order = draws.permutation(len(train))
        for start in range(0, len(order), recipe.batch_size):
            rows = order[start : start + recipe.batch_size]
            if isinstance(train, Augmented):
                inputs, labels = train.batch(rows, epoch)
            else:
                inputs, labels = train.inputs[rows], train.targets[rows]
            yield standard(inputs), labels

    def limit() -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    norms = parameter.norm(dim=1, keepdim=True)
                    parameter.mul_((recipe.max_norm / norms.clamp(min=1e-12)).clamp(max=1.0))

    for epoch in range(min(epochs or recipe.epochs, recipe.epochs)):
        seconds = training.epoch(batches(epoch), nothing, limit if recipe.max_norm else nothing)
        network.eval()
        with torch.no_grad():
            found = network(torch.from_numpy(standard(parts.test.inputs))).argmax(1).numpy()
        reached = (found == parts.test.targets).mean()
        print(f"{name} epoch {epoch + 1}/{recipe.epochs}: {seconds:.1f} s, test {reached:.2%}")


def nothing() -> None:
    """What is done where nothing is to be done."""


def moments(pixels: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of all pixels."""
    return float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))


def letters(steps: int | None, seed: int) -> None:
    """Train nanoGPT's recipe for a CPU on Shakespeare."""
    recipe = TextRecipe.compose("shakespeare", "char_gpt", seed=seed)
    tokenizer = recipe.fit_tokenizer()
    random.seed(seed)
    model = recipe.build_model(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        parts = recipe.language_parts(tokenizer, Path(folder))
    network = GPT(bias=False, tied=True)
    same_weights(network, model, "")
    matrices = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    betas = (0.9, recipe.beta2)
    optimizer = torch.optim.AdamW(groups, recipe.learning_rate, betas=betas, fused=True)
    final = recipe.final_share * recipe.learning_rate
    rate = cosine(recipe.learning_rate, final, recipe.steps, recipe.warmup)
    training = Training(network, rate, optimizer)
    places = parts.train.augmentation
    assert places is not None
    a_round = recipe.steps_a_round

    def batches(epoch: int) -> Iterator[Any]:
        for step in range(a_round):
            windows = step * recipe.batch_size + np.arange(recipe.batch_size)
            yield places.batch((), windows, epoch, seed)

    def clip() -> None:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_norm)

    total = 0.0
    for epoch in range(math.ceil((steps or recipe.steps) / a_round)):
        total += training.epoch(batches(epoch), clip, nothing)
        loss = held_out(network, parts.validation)
        print(f"char_gpt step {training.step}: {total:.1f} s, validation loss {loss:.4f}")


def held_out(network: nn.Module, windows: Any) -> float:
    """Mean loss over all predictions of the windows."""
    network.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(windows), 128):
            inputs, labels = (
                torch.from_numpy(np.array(x[start : start + 128], np.int64))
                for x in (windows.inputs, windows.targets)
            )
            logits = network(inputs).flatten(0, -2)
            total += F.cross_entropy(logits, labels.flatten(), reduction="sum").item()
            count += int((labels != -100).sum())
    return total / count


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=[*PICTURES, "char-gpt"])
    parser.add_argument("--epochs", type=int, help="of pictures; default: all")
    parser.add_argument("--steps", type=int, help="of char-gpt; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    if given.recipe == "char-gpt":
        letters(given.steps, given.seed)
    else:
        pictures(given.recipe, given.epochs, given.seed)


if __name__ == "__main__":
    main()
