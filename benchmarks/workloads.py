"""What is timed: each workload once, the same for every library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.models import CALLS, STEPS, Call, Steps
from benchmarks.orders import shuffled

FLOAT_BYTES = 4
"""All workloads are float32."""

STATE_ARRAYS = {"sgd": 0, "momentum": 1, "adam": 2}
"""Arrays of a parameter's shape that an optimizer keeps."""


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron and how it is trained; softmax cross-entropy is its loss.

    Args:
        name: What the command and the tables call it.
        sizes: Units a layer, the inputs first.
        activation: "sigmoid" or "relu", after every layer but the last.
        optimizer: "sgd", "momentum" (0.9) or "adam" (0.9, 0.999, 1e-8).
        learning_rate: η > 0.
        batch: Samples a step.
        samples: Samples of the data set, from which each step gathers its batch.
        chunk: Steps a window of timing; the length of a native loop where a library has one.
        dropout: Probability of dropping a hidden unit, in [0, 1).
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    optimizer: str
    learning_rate: float
    batch: int
    samples: int
    chunk: int
    dropout: float = 0.0
    seed: int = 0
    kind: str = "network"

    @property
    def title(self) -> str:
        """One line about it."""
        dropout = f" + dropout {self.dropout}" if self.dropout else ""
        sizes = "-".join(map(str, self.sizes))
        return f"{sizes} {self.activation}{dropout}, {self.optimizer}, batch {self.batch}"

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum((m + 1) * n for m, n in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's matrix products.

        Three products a layer (forward, weight gradient, input gradient), but the first layer's
        inputs need no gradient. All the rest is smaller by the width of a layer.
        """
        layers = [m * n for m, n in zip(self.sizes, self.sizes[1:], strict=False)]
        return 2 * self.batch * (3 * sum(layers) - layers[0])

    @property
    def data_bytes(self) -> int:
        """Inputs and labels."""
        return self.samples * (self.sizes[0] * FLOAT_BYTES + 8)

    @property
    def resident_bytes(self) -> int:
        """Parameters and optimizer state."""
        return FLOAT_BYTES * self.parameters * (1 + STATE_ARRAYS[self.optimizer])

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (samples, sizes[0]) in [0, 1) and labels of a noisy linear rule."""
        rng = np.random.default_rng(self.seed)
        inputs = rng.random((self.samples, self.sizes[0]), dtype=np.float32)
        teacher = rng.standard_normal((self.sizes[0], self.sizes[-1]), dtype=np.float32)
        labels = ((inputs - 0.5) @ teacher).argmax(axis=1)
        noise = rng.random(self.samples) < 0.2
        labels[noise] = rng.integers(0, self.sizes[-1], int(noise.sum()))
        return inputs, labels.astype(np.int64)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each layer W (inputs, outputs), of variance 1/inputs, and b, small but not zero."""
        rng = np.random.default_rng(self.seed + 1)
        return [
            (
                (rng.standard_normal((m, n)) / np.sqrt(m)).astype(np.float32),
                (0.01 * rng.standard_normal(n)).astype(np.float32),
            )
            for m, n in zip(self.sizes, self.sizes[1:], strict=False)
        ]

    def order(self, n_steps: int, epoch: int = 0, samples: int | None = None) -> np.ndarray:
        """Sample numbers (n_steps, batch): shuffled epochs, cut into whole batches.

        Args:
            n_steps: Rows.
            epoch: Which shuffle comes first.
            samples: How many of the samples are used; None: all.
        """
        return shuffled(samples or self.samples, self.batch, n_steps, (self.seed, epoch))


@dataclass(frozen=True)
class Product:
    """A matrix product C = A B, its operands resident; A is stored transposed on request.

    Args:
        name: What the command and the tables call it.
        m: Rows of C.
        k: Length of the sums.
        n: Columns of C.
        transposed: A is held as (k, m), as for a weight gradient.
        chunk: Products a window of timing.
    """

    name: str
    m: int
    k: int
    n: int
    chunk: int
    transposed: bool = False
    seed: int = 0
    kind: str = "product"

    @property
    def title(self) -> str:
        """One line about it."""
        left = f"({self.k},{self.m})ᵀ" if self.transposed else f"({self.m},{self.k})"
        return f"{left}·({self.k},{self.n})"

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each term."""
        return 2 * self.m * self.k * self.n

    @cached_property
    def left_shape(self) -> tuple[int, int]:
        """How A is held."""
        return (self.k, self.m) if self.transposed else (self.m, self.k)

    def operands(self) -> tuple[np.ndarray, np.ndarray]:
        """A, as it is held, and B."""
        rng = np.random.default_rng(self.seed)
        left = rng.standard_normal(self.left_shape, dtype=np.float32)
        return left, rng.standard_normal((self.k, self.n), dtype=np.float32)


NETWORKS = {
    network.name: network
    for network in (
        Network("mlp-small", (784, 10, 10), "sigmoid", "sgd", 0.1, 32, 60_000, 1000),
        Network("mlp-wide", (784, 1024, 10), "relu", "adam", 1e-3, 128, 60_000, 50),
        Network("table", (30, 100, 2), "relu", "adam", 1e-3, 200, 10_000, 500),
        Network("dropout", (784, 300, 100, 10), "relu", "momentum", 0.01, 64, 60_000, 200, 0.2),
    )
}
"""Whole training steps."""

PRODUCTS = {
    product.name: product
    for product in (
        Product("mm-forward", 64, 784, 1024, 100),
        Product("mm-gradient", 784, 128, 1024, 60, transposed=True),
        Product("mm-256", 256, 256, 256, 300),
        Product("mm-1024", 1024, 1024, 1024, 5),
        Product("mm-thin", 32, 784, 10, 3000),
        Product("mm-tall", 2048, 256, 1024, 10),
    )
}
"""Matrix products as they occur in steps."""

Workload = Network | Product | Steps | Call

TRAININGS: dict[str, Network | Steps] = {**NETWORKS, **STEPS}
"""All that is trained."""

WORKLOADS: dict[str, Workload] = {**TRAININGS, **PRODUCTS, **CALLS}
"""All of them by name."""
