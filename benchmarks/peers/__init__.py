"""One file a library: how its users would write each workload to be fast."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Protocol

import numpy as np

from benchmarks.workloads import Network, Product


class Training(Protocol):
    """A network with its optimizer and resident data, ready to be trained."""

    def order(self, rows: np.ndarray) -> Any:
        """The sample numbers (n_steps, batch) in the library's own form; not timed."""

    def run(self, order: Any) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""


class Products(Protocol):
    """A matrix product with its operands resident."""

    def run(self, count: int) -> np.ndarray:
        """Compute the product ``count`` times; the last result."""


PEERS: dict[str, tuple[str, str, str]] = {
    "chainrule": ("chainrule", "benchmarks.peers.chainrule_steps", "Native"),
    "torch": ("torch", "benchmarks.peers.torch_steps", "Eager"),
    "torch-compile": ("torch", "benchmarks.peers.torch_steps", "Compiled"),
    "jax-jit": ("jax", "benchmarks.peers.jax_steps", "Jit"),
    "jax-scan": ("jax", "benchmarks.peers.jax_steps", "Scan"),
    "sklearn": ("sklearn", "benchmarks.peers.sklearn_steps", "PartialFit"),
}
"""Name → the module it needs, the file that drives it, the class in it."""


def installed(peer: str) -> bool:
    """Whether the library of ``peer`` can be imported here."""
    return importlib.util.find_spec(PEERS[peer][0]) is not None


def fits(peer: str, workload: Network | Product) -> bool:
    """Whether ``peer`` can do the workload as it is."""
    if isinstance(workload, Product):
        return peer in ("chainrule", "torch")
    return not (peer == "sklearn" and workload.dropout)


def open_training(
    peer: str, network: Network, data: tuple[np.ndarray, np.ndarray], **options: Any
) -> Training:
    """Import the library and build its ``Training``; ``options``: n_threads, engine."""
    _, module, name = PEERS[peer]
    return getattr(importlib.import_module(module), name)(network, data, **options)


def open_products(peer: str, product: Product, **options: Any) -> Products:
    """Import the library and build its ``Products``."""
    return importlib.import_module(PEERS[peer][1]).MatrixProducts(product, **options)
