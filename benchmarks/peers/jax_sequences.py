"""JAX: training steps of networks of sequences, one jitted step a call, or ``lax.scan`` over many.

Inputs' products of the recurrent layers stand before the loop over time, as JAX's users write them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.models import Steps
from benchmarks.orders import named_weight

Weights = dict[str, jax.Array]
State = dict[str, Any]


def _recurrent_shapes(hidden: int, gates: int) -> dict[str, tuple[int, ...]]:
    wide = gates * hidden
    return {
        "embedding.weight": (65, hidden),
        "rnn.weight_ih_l0": (wide, hidden),
        "rnn.weight_hh_l0": (wide, hidden),
        "rnn.bias_ih_l0": (wide,),
        "rnn.bias_hh_l0": (wide,),
        "head.weight": (65, hidden),
        "head.bias": (65,),
    }


def _gpt_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (65, 128), "wpe.weight": (64, 128)}
    for n in range(4):
        for part, after, before in (
            ("attn.c_attn", 384, 128),
            ("attn.c_proj", 128, 128),
            ("mlp.c_fc", 512, 128),
            ("mlp.c_proj", 128, 512),
        ):
            shapes[f"h.{n}.{part}.weight"] = (after, before)
            shapes[f"h.{n}.{part}.bias"] = (after,)
        for norm in ("ln_1", "ln_2"):
            shapes[f"h.{n}.{norm}.weight"] = shapes[f"h.{n}.{norm}.bias"] = (128,)
    return {
        **shapes,
        "ln_f.weight": (128,),
        "ln_f.bias": (128,),
        "lm_head.weight": (65, 128),
    }


def _linear(w: Weights, name: str, x: jax.Array) -> jax.Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _over_time(w: Weights, tokens: jax.Array, cell: Callable[..., Any], first: Any) -> jax.Array:
    x = w["embedding.weight"][tokens].transpose(1, 0, 2)
    parts = x @ w["rnn.weight_ih_l0"].T + w["rnn.bias_ih_l0"]
    _, states = lax.scan(cell, first, parts)
    return _linear(w, "head", states.transpose(1, 0, 2))


def char_lstm(w: Weights, tokens: jax.Array) -> jax.Array:
    """Logits at every place."""

    def cell(carry: Any, part: jax.Array) -> Any:
        h, c = carry
        gates = part + h @ w["rnn.weight_hh_l0"].T + w["rnn.bias_hh_l0"]
        i, f, g, o = jnp.split(gates, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((len(tokens), w["rnn.weight_hh_l0"].shape[1]))
    return _over_time(w, tokens, cell, (zero, zero))


def char_gru(w: Weights, tokens: jax.Array) -> jax.Array:
    """Logits at every place."""

    def cell(h: jax.Array, part: jax.Array) -> Any:
        own = h @ w["rnn.weight_hh_l0"].T + w["rnn.bias_hh_l0"]
        (r, z, n), (own_r, own_z, own_n) = jnp.split(part, 3, axis=1), jnp.split(own, 3, axis=1)
        z = jax.nn.sigmoid(z + own_z)
        n = jnp.tanh(n + jax.nn.sigmoid(r + own_r) * own_n)
        h = (1 - z) * n + z * h
        return h, h

    zero = jnp.zeros((len(tokens), w["rnn.weight_hh_l0"].shape[1]))
    return _over_time(w, tokens, cell, zero)


def _normed(w: Weights, name: str, x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    scale = lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def _attended(w: Weights, name: str, x: jax.Array) -> jax.Array:
    batch, places, width = x.shape
    joined = _linear(w, f"{name}.c_attn", x)
    q, k, v = (p.reshape(batch, places, 4, 32) for p in jnp.split(joined, 3, axis=2))
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return _linear(w, f"{name}.c_proj", y.reshape(batch, places, width))


def gpt(w: Weights, tokens: jax.Array) -> jax.Array:
    """Logits at every place."""
    x = w["wte.weight"][tokens] + w["wpe.weight"][: tokens.shape[1]]
    for n in range(4):
        x = x + _attended(w, f"h.{n}.attn", _normed(w, f"h.{n}.ln_1", x))
        wide = _linear(w, f"h.{n}.mlp.c_fc", _normed(w, f"h.{n}.ln_2", x))
        x = x + _linear(w, f"h.{n}.mlp.c_proj", jax.nn.gelu(wide, approximate=False))
    return _normed(w, "ln_f", x) @ w["lm_head.weight"].T


MODELS: dict[str, tuple[Callable[..., jax.Array], dict[str, tuple[int, ...]]]] = {
    "char_lstm": (char_lstm, _recurrent_shapes(256, 4)),
    "char_gru": (char_gru, _recurrent_shapes(128, 3)),
    "gpt": (gpt, _gpt_shapes()),
}


def initial_state(steps: Steps) -> State:
    """Parameters, optimizer state and step count."""
    shapes = MODELS[steps.model][1]
    weights = {name: jnp.array(named_weight(name, shape)) for name, shape in shapes.items()}
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    return {
        "weights": weights,
        "first": zeros(weights),
        "second": zeros(weights),
        "count": jnp.zeros((), jnp.int32),
    }


def step(
    state: State, rows: jax.Array, inputs: jax.Array, labels: jax.Array, steps: Steps
) -> tuple[State, jax.Array]:
    """One step of Adam or AdamW on the samples of ``rows``: the new state and the loss."""
    x = inputs.at[rows].get(mode="promise_in_bounds")
    wanted = labels.at[rows].get(mode="promise_in_bounds")
    model = MODELS[steps.model][0]

    def loss_of(weights: Weights) -> jax.Array:
        logs = jax.nn.log_softmax(model(weights, x))
        return -jnp.take_along_axis(logs, wanted[..., None], axis=2).mean()

    loss, gradients = jax.value_and_grad(loss_of)(state["weights"])
    t, rate, tree_map = state["count"] + 1, steps.learning_rate, jax.tree.map
    time = t.astype(jnp.float32)
    size, root = rate / (1 - 0.9**time), 1 / (1 - 0.999**time)
    kept = 1 - rate * 0.01 if steps.optimizer == "adamw" else 1.0
    first = tree_map(lambda m, g: 0.9 * m + 0.1 * g, state["first"], gradients)
    second = tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, state["second"], gradients)
    weights = tree_map(
        lambda p, m, v: kept * p - size * m / (jnp.sqrt(v * root) + 1e-8),
        state["weights"],
        first,
        second,
    )
    return {"weights": weights, "first": first, "second": second, "count": t}, loss


class _Resident:
    """Data and state on the device."""

    def __init__(
        self, steps: Steps, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        self.inputs, self.labels = (jnp.asarray(x.astype(np.int32)) for x in data)
        self.state = initial_state(steps)
        self.step = functools.partial(step, steps=steps)

    def order(self, rows: np.ndarray) -> jax.Array:
        """Sample numbers on the device."""
        return jax.block_until_ready(jnp.asarray(rows.astype(np.int32)))


class Jit(_Resident):
    """A call a step; the state is donated."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.compiled = jax.jit(self.step, donate_argnums=0)

    def run(self, order: jax.Array) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        losses = []
        for rows in order:
            self.state, loss = self.compiled(self.state, rows, self.inputs, self.labels)
            losses.append(loss)
        jax.block_until_ready(self.state)
        return np.array([float(x) for x in losses], np.float32)


class Scan(_Resident):
    """A call a chunk: ``lax.scan`` over its steps."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)

        def many(state: State, order: jax.Array, inputs: jax.Array, labels: jax.Array) -> Any:
            return lax.scan(lambda s, rows: self.step(s, rows, inputs, labels), state, order)

        self.compiled = jax.jit(many, donate_argnums=0)

    def run(self, order: jax.Array) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        self.state, losses = self.compiled(self.state, order, self.inputs, self.labels)
        jax.block_until_ready(self.state)
        return np.asarray(losses)
