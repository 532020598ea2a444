"""JAX: one jitted step a call, and ``lax.scan`` over the steps of a chunk."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.workloads import Network

State = dict[str, Any]


def initial_state(network: Network) -> State:
    """Parameters, optimizer state, step count and random key."""
    parameters = [(jnp.array(w), jnp.array(b)) for w, b in network.weights()]
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    return {
        "parameters": parameters,
        "first": zeros(parameters) if network.optimizer != "sgd" else None,
        "second": zeros(parameters) if network.optimizer == "adam" else None,
        "count": jnp.zeros((), jnp.int32),
        "key": jax.random.key(network.seed, impl="rbg"),
    }


def _loss(
    parameters: list[Any], x: jax.Array, labels: jax.Array, key: jax.Array, network: Network
) -> jax.Array:
    for number, (weight, bias) in enumerate(parameters):
        if number:
            x = jax.nn.relu(x) if network.activation == "relu" else jax.nn.sigmoid(x)
            if network.dropout:
                kept = 1 - network.dropout
                mask = jax.random.bernoulli(jax.random.fold_in(key, number), kept, x.shape)
                x = jnp.where(mask, x / kept, 0)
        x = x @ weight + bias
    picked = jnp.take_along_axis(jax.nn.log_softmax(x), labels[:, None], axis=1)
    return -picked.mean()


def _updated(network: Network, state: State, gradients: list[Any], t: jax.Array) -> State:
    rate, tree_map = network.learning_rate, jax.tree.map
    parameters, first, second = state["parameters"], state["first"], state["second"]
    if network.optimizer == "sgd":
        parameters = tree_map(lambda p, g: p - rate * g, parameters, gradients)
    elif network.optimizer == "momentum":
        first = tree_map(lambda m, g: 0.9 * m + g, first, gradients)
        parameters = tree_map(lambda p, m: p - rate * m, parameters, first)
    else:
        time = t.astype(jnp.float32)
        size, root = rate / (1 - 0.9**time), 1 / (1 - 0.999**time)
        first = tree_map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        parameters = tree_map(
            lambda p, m, v: p - size * m / (jnp.sqrt(v * root) + 1e-8), parameters, first, second
        )
    return {**state, "parameters": parameters, "first": first, "second": second, "count": t}


def step(
    state: State, rows: jax.Array, inputs: jax.Array, labels: jax.Array, network: Network
) -> tuple[State, jax.Array]:
    """One step on the samples of ``rows``: the new state and the loss."""
    x = inputs.at[rows].get(mode="promise_in_bounds")
    picked = labels.at[rows].get(mode="promise_in_bounds")
    t = state["count"] + 1
    key = jax.random.fold_in(state["key"], t) if network.dropout else state["key"]
    loss, gradients = jax.value_and_grad(_loss)(state["parameters"], x, picked, key, network)
    return _updated(network, state, gradients, t), loss


class _Resident:
    """Data and state on the device."""

    def __init__(
        self, network: Network, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        self.network = network
        self.inputs, self.labels = jnp.asarray(data[0]), jnp.asarray(data[1].astype(np.int32))
        self.state = initial_state(network)

    def order(self, rows: np.ndarray) -> jax.Array:
        """Sample numbers on the device."""
        return jax.block_until_ready(jnp.asarray(rows.astype(np.int32)))


class Jit(_Resident):
    """A call a step; the state is donated, and the batch is found by the step count."""

    def __init__(
        self, network: Network, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        super().__init__(network, data, n_threads, engine)

        def one(state: State, order: jax.Array, inputs: jax.Array, labels: jax.Array) -> Any:
            rows = order[state["count"] % len(order)]
            return step(state, rows, inputs, labels, network)

        self.compiled = jax.jit(one, donate_argnums=0)

    def run(self, order: jax.Array) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        losses = []
        for _ in range(len(order)):
            self.state, loss = self.compiled(self.state, order, self.inputs, self.labels)
            losses.append(loss)
        jax.block_until_ready(self.state)
        return np.array([float(x) for x in losses], np.float32)


class Scan(_Resident):
    """A call a chunk: ``lax.scan`` over its steps."""

    def __init__(
        self, network: Network, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        super().__init__(network, data, n_threads, engine)

        def many(state: State, order: jax.Array, inputs: jax.Array, labels: jax.Array) -> Any:
            def body(state: State, rows: jax.Array) -> Any:
                return step(state, rows, inputs, labels, network)

            return lax.scan(body, state, order)

        self.compiled = jax.jit(many, donate_argnums=0)

    def run(self, order: jax.Array) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        self.state, losses = self.compiled(self.state, order, self.inputs, self.labels)
        jax.block_until_ready(self.state)
        return np.asarray(losses)
