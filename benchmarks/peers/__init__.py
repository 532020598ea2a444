"""Files for each library: how its users would write each workload to be fast."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.models import Call, Steps
from benchmarks.workloads import Network, Product, Workload


class Training(Protocol):
    """A network with its optimizer and resident data, ready to be trained."""

    def order(self, rows: np.ndarray) -> Any:
        """The sample numbers (n_steps, batch) in the library's own form; not timed."""

    def run(self, order: Any) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""


class Calls(Protocol):
    """A product, or another function, with its operands resident."""

    def run(self, count: int) -> np.ndarray:
        """Compute it ``count`` times; the last result."""


class Peer(NamedTuple):
    """A library, in one of the ways of using it.

    Args:
        needs: The modules that must be there, with commas.
        drivers: For each kind of workload that it does: the file and the class that drive it.
    """

    needs: str
    drivers: Mapping[str, tuple[str, str]]


def _torch(steps: str, calls: str) -> dict[str, tuple[str, str]]:
    return {"steps": ("torch_models", steps), "call": ("torch_models", calls)}


PEERS: dict[str, Peer] = {
    "chainrule": Peer(
        "chainrule",
        {
            "network": ("chainrule_steps", "Native"),
            "product": ("chainrule_steps", "MatrixProducts"),
            "steps": ("chainrule_models", "Native"),
            "call": ("chainrule_models", "Calls"),
        },
    ),
    "torch": Peer(
        "torch",
        {
            "network": ("torch_steps", "Eager"),
            "product": ("torch_steps", "MatrixProducts"),
            **_torch("Eager", "EagerCalls"),
        },
    ),
    "torch-last": Peer("torch", _torch("ChannelsLast", "ChannelsLastCalls")),
    "torch-compile": Peer(
        "torch", {"network": ("torch_steps", "Compiled"), **_torch("Compiled", "CompiledCalls")}
    ),
    "jax-jit": Peer("jax", {"network": ("jax_steps", "Jit"), "steps": ("jax_sequences", "Jit")}),
    "jax-scan": Peer("jax", {"network": ("jax_steps", "Scan"), "steps": ("jax_sequences", "Scan")}),
    "sklearn": Peer("sklearn", {"network": ("sklearn_steps", "PartialFit")}),
    "onnxruntime": Peer("onnxruntime,onnx", {"call": ("onnx_calls", "Session")}),
}
"""The libraries by name; ``torch-last`` is PyTorch with channels last."""

EXACT = Peer("torch", _torch("Exact", "ExactCalls"))
"""PyTorch in float64: what results are compared with where no formulas are written out."""


def find(peer: str) -> Peer:
    """The library of this name; ``"exact"``: the one that others are compared with."""
    return EXACT if peer == "exact" else PEERS[peer]


def installed(peer: str) -> bool:
    """Whether the library of ``peer`` can be imported here."""
    return all(importlib.util.find_spec(name) for name in find(peer).needs.split(","))


def fits(peer: str, workload: Workload) -> bool:
    """Whether ``peer`` can do the workload as it is."""
    if workload.kind not in PEERS[peer].drivers:
        return False
    if peer == "torch-last":
        pictures = workload.has_pictures if isinstance(workload, Steps) else False
        return pictures or (isinstance(workload, Call) and workload.layouts)
    if peer.startswith("jax") and isinstance(workload, Steps):
        return not workload.has_pictures
    if peer == "onnxruntime":
        return isinstance(workload, Call) and workload.inference
    return not (peer == "sklearn" and isinstance(workload, Network) and workload.dropout)


def import_driver(peer: str, kind: str) -> Any:
    """Import the library, and its driver of a kind of workload."""
    module, name = find(peer).drivers[kind]
    return getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)


def open_training(
    peer: str, network: Network | Steps, data: tuple[np.ndarray, np.ndarray], **options: Any
) -> Training:
    """Import the library and build its ``Training``; ``options``: n_threads, engine."""
    return import_driver(peer, network.kind)(network, data, **options)


def open_calls(peer: str, workload: Product | Call, **options: Any) -> Calls:
    """Import the library and build its ``Calls``; ``options`` as above."""
    return import_driver(peer, workload.kind)(workload, **options)
