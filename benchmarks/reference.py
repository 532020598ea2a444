"""The same steps in NumPy, float64, written out: what every library's losses must equal."""

from __future__ import annotations

import numpy as np

from benchmarks.workloads import Network


def reference_losses(
    network: Network, inputs: np.ndarray, labels: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Losses of the steps of ``order`` (n_steps, batch), without dropout, in float64."""
    layers = [[w.astype(np.float64), b.astype(np.float64)] for w, b in network.weights()]
    state = [[(np.zeros_like(p), np.zeros_like(p)) for p in layer] for layer in layers]
    losses = []
    for number, rows in enumerate(order):
        loss, gradients = _loss_and_gradients(
            network, layers, inputs[rows].astype(np.float64), labels[rows]
        )
        losses.append(loss)
        for layer, slots, given in zip(layers, state, gradients, strict=True):
            for i, gradient in enumerate(given):
                layer[i], slots[i] = _update(network, layer[i], slots[i], gradient, number + 1)
    return np.array(losses)


def _loss_and_gradients(
    network: Network, layers: list[list[np.ndarray]], x: np.ndarray, labels: np.ndarray
) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    outputs = [x]
    for weight, bias in layers[:-1]:
        z = outputs[-1] @ weight + bias
        outputs.append(np.maximum(z, 0) if network.activation == "relu" else 1 / (1 + np.exp(-z)))
    scores = outputs[-1] @ layers[-1][0] + layers[-1][1]
    scores -= scores.max(axis=1, keepdims=True)
    logarithms = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    picked = np.arange(len(x)), labels
    delta = np.exp(logarithms)
    delta[picked] -= 1
    delta /= len(x)
    gradients = []
    for (weight, _), output in zip(reversed(layers), reversed(outputs), strict=True):
        gradients.append((output.T @ delta, delta.sum(axis=0)))
        slope = output > 0 if network.activation == "relu" else output * (1 - output)
        delta = (delta @ weight.T) * slope
    return float(-logarithms[picked].mean()), gradients[::-1]


def _update(
    network: Network,
    parameter: np.ndarray,
    state: tuple[np.ndarray, np.ndarray],
    gradient: np.ndarray,
    t: int,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    rate = network.learning_rate
    first, second = state
    if network.optimizer == "sgd":
        return parameter - rate * gradient, state
    if network.optimizer == "momentum":
        first = 0.9 * first - rate * gradient
        return parameter + first, (first, second)
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    root = np.sqrt(second / (1 - 0.999**t))
    return parameter - rate * first / (1 - 0.9**t) / (root + 1e-8), (first, second)
