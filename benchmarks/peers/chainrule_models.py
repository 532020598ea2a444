"""chainrule: training steps of named networks, and calls of layers and trained networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.models import Call, Steps
from benchmarks.orders import named_weight
from chainrule import models, nn, optim
from chainrule.models.mobilenet import InvertedResidual

F = nn.functional


class CharRNN(nn.Module):
    """Embedding, a recurrent layer, a logit for each character."""

    def __init__(self, layer: Callable[..., nn.Module], hidden: int) -> None:
        self.embedding = nn.Embedding(65, hidden)
        self.rnn = layer(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 65)

    def forward(self, tokens: Any) -> Any:
        """Shape: (batch, places) → (batch, places, 65)."""
        return self.head(self.rnn(self.embedding(tokens))[0])


def gpt() -> nn.Module:
    """The small GPT."""
    return models.GPT(65, 64, width=128, num_layers=4, num_heads=4, tied=False, gelu="exact")


MODELS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": lambda: models.create("lenet5"),
    "resnet20": lambda: models.create("cifar_resnet20"),
    "char_lstm": lambda: CharRNN(nn.LSTM, 256),
    "char_gru": lambda: CharRNN(nn.GRU, 128),
    "gpt": gpt,
    "mobilenet_block": lambda: InvertedResidual(32, 32, 1, 6),
}
OPTIMIZERS = {
    "momentum": lambda rate: optim.Momentum(rate, 0.9),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}


def build(name: str) -> nn.Module:
    """The network with its given weights."""
    model = MODELS[name]()
    given = {path: named_weight(path, p.shape) for path, p in model.named_parameters()}
    model.load_state_dict(given, strict=False)
    return model


def step(model: nn.Module, optimizer: optim.Optimizer, x: Any, labels: Any) -> Any:
    """One step; its loss."""

    def loss_of(model: nn.Module) -> Any:
        logits = model(x)
        return F.cross_entropy(logits.reshape((-1, logits.shape[-1])), labels.reshape(-1))

    loss, gradients = cr.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


class Native:
    """Whole chunks of steps in one call."""

    def __init__(
        self, steps: Steps, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: str | None
    ) -> None:
        self.data, self.engine = data, engine
        self.model = build(steps.model)
        self.optimizer = OPTIMIZERS[steps.optimizer](steps.learning_rate)

    def order(self, rows: np.ndarray) -> np.ndarray:
        """Sample numbers."""
        return rows

    def run(self, order: np.ndarray) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        state = [self.model, self.optimizer]
        return cr.run_steps(step, state, self.data, order, engine=self.engine)


def _looped(function: Callable[..., Any], state: dict[str, Any]) -> Callable[[int, Any], Any]:
    """Many calls in one native loop, as layers stand in a training step; the last result."""

    def one(state: dict[str, Any], _: Any) -> Any:
        state["out"] = function(state)
        # not of the result: what the loss depends on is written only once that is known finite
        return state["anchor"]

    held = {**state, "anchor": cr.zeros(()), "out": None}

    def run(count: int, engine: str | None) -> np.ndarray:
        if held["out"] is None:
            held["out"] = cr.zeros(cr.compile(function, engine="interpreter")(state).shape)
        order, nothing = np.zeros((count, 1), np.int64), [np.zeros(1, np.float32)]
        cr.run_steps(one, [held], nothing, order, engine=engine)
        return held["out"].numpy()

    return run


def _conv_forward(s: dict[str, Any]) -> Any:
    return F.conv2d(s["x"], s["w"], padding=1)


def _conv_input(s: dict[str, Any]) -> Any:
    x = cr.zeros(s["g"].shape)
    return cr.vjp(lambda x: F.conv2d(x, s["w"], padding=1), x)[1](s["g"])[0]


def _conv_weight(s: dict[str, Any]) -> Any:
    w = cr.zeros((s["g"].shape[1], s["x"].shape[1], 3, 3))
    return cr.vjp(lambda w: F.conv2d(s["x"], w, padding=1), w)[1](s["g"])[0]


def _attention(s: dict[str, Any]) -> Any:
    def total(q: Any, k: Any, v: Any) -> Any:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return (y * y).sum() * 0.5

    return cr.stack(cr.grad(total, argnums=(0, 1, 2))(s["q"], s["k"], s["v"]))


def _block(s: dict[str, Any]) -> Any:
    def total(model: nn.Module, x: Any) -> Any:
        y = model(x)
        return (y * y).sum() * 0.5

    gradients, of_x = cr.grad(total, argnums=(0, 1))(s["model"], s["x"])
    return cr.concat([of_x.reshape(-1), *(g.reshape(-1) for g in gradients.values())])


def _inference(arrays: dict[str, Any]) -> Callable[[int, Any], Any]:
    """A call from Python for each answer, as one does who waits for it."""
    model = build("lenet5").eval()
    programs: dict[str | None, Any] = {}

    def run(count: int, engine: str | None) -> np.ndarray:
        if engine not in programs:
            programs[engine] = cr.compile(lambda model, x: model(x), engine=engine)
        answer = programs[engine]
        for _ in range(count):
            out = answer(model, arrays["x"]).numpy()
        return out

    return run


def _generation(arrays: dict[str, Any]) -> Callable[[int, Any], Any]:
    """Greedy writing with a cache, the tokens of a text in one native loop."""
    model = build("gpt").eval()

    def write(model: nn.Module, state: dict[str, Any], _: Any) -> Any:
        logits, cache = model.next_logits(state["token"], state["cache"])
        state["cache"]["seen"] = cache["seen"]
        for held, new in zip(state["cache"]["layers"], cache["layers"], strict=True):
            held[0], held[1] = new
        state["logits"] = logits
        state["token"] = cr.argmax(logits, axis=-1, keepdims=True)
        return cr.zeros(())

    def run(count: int, engine: str | None) -> np.ndarray:
        cache = model.initial_cache(1)
        state = {
            "token": cr.zeros((1, 1), dtype=np.int64),
            "logits": cr.zeros((1, 65)),
            "cache": {"seen": cache["seen"], "layers": [list(pair) for pair in cache["layers"]]},
        }
        order, nothing = np.zeros((count, 1), np.int64), [np.zeros(1, np.float32)]
        cr.run_steps(write, [model, state], nothing, order, engine=engine)
        return state["logits"].numpy()

    return run


CALLS: dict[str, Callable[[dict[str, Any]], Callable[[int, Any], Any]]] = {
    "conv_forward": lambda s: _looped(_conv_forward, s),
    "conv_input": lambda s: _looped(_conv_input, s),
    "conv_weight": lambda s: _looped(_conv_weight, s),
    "attention": lambda s: _looped(_attention, s),
    "mobilenet_block": lambda s: _looped(_block, {**s, "model": build("mobilenet_block")}),
    "lenet_inference": _inference,
    "generation": _generation,
}


class Calls:
    """A function with its operands resident."""

    def __init__(self, call: Call, n_threads: int, engine: str | None) -> None:
        arrays = {name: cr.asarray(x) for name, x in call.arrays().items()}
        self.function, self.engine = CALLS[call.function](arrays), engine

    def run(self, count: int) -> np.ndarray:
        """Call ``count`` times; the last result."""
        return self.function(count, self.engine)
