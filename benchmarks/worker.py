"""One measurement in a process of its own: ``python -m benchmarks.worker '{...}'``.

The only line on standard output is the result as JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.workloads import FLOAT_BYTES, NETWORKS, PRODUCTS, Network

START_SAMPLES = 4096
"""Samples of the data when the start is timed: reading more is no library's merit."""

ORDERS = 4
"""Epoch orders made beforehand, taken in turn."""

QUIET = 0.06
"""A window is quiet where others took less than this share of a core."""

CHECKED_STEPS = 10
"""First steps whose losses are compared."""


def main() -> None:
    """Run the job that the argument describes."""
    job = json.loads(sys.argv[1])
    result = {"speed": speed, "start": start, "losses": losses, "product": product, "peak": peak}[
        job["job"]
    ](job)
    print(json.dumps(result))


def speed(job: dict[str, Any]) -> dict[str, Any]:
    """Times of windows, memory, and the losses of the first steps."""
    from benchmarks.peers import PEERS

    network = _network(job)
    importlib.import_module(PEERS[job["peer"]][1])
    imported = machine.memory("VmRSS")
    training = _open(job, network, None)
    orders = [training.order(_rows(job, network, epoch)) for epoch in range(ORDERS)]
    gc.collect()
    machine.reset_highest_memory()
    first = training.run(orders[0])

    def run(number: int) -> int:
        training.run(orders[(number + 1) % ORDERS])
        return network.chunk

    times = windows(run, job)
    data = network.samples * (network.sizes[0] * FLOAT_BYTES + 8)
    added = machine.memory("VmHWM") - imported - data - network.resident_bytes
    return {
        **times,
        "losses": [float(x) for x in first[:CHECKED_STEPS]],
        "mean_loss": float(np.mean(first)),
        "memory_bytes": added,
    }


def product(job: dict[str, Any]) -> dict[str, Any]:
    """Times of windows of a matrix product, and how far its result is from NumPy's, float64."""
    from benchmarks.peers import open_products

    shape = PRODUCTS[job["workload"]]
    products = open_products(job["peer"], shape, n_threads=job["threads"], engine=job["engine"])
    result = products.run(1)
    left, right = (x.astype(np.float64) for x in shape.operands())
    exact = (left.T if shape.transposed else left) @ right

    def run(number: int) -> int:
        products.run(shape.chunk)
        return shape.chunk

    run(0)
    return {**windows(run, job), "error": float(np.abs(result - exact).max() / np.abs(exact).max())}


def windows(run: Callable[[int], int], job: dict[str, Any]) -> dict[str, Any]:
    """Repeat windows until enough were quiet or the time is spent.

    Args:
        run: Does work, given the number of the call; returns how many steps it took.
        job: "windows" (how many), "window_seconds" (how long at least), "seconds" (limit).

    Returns:
        "quiet" and "disturbed": seconds a step, one number a window.
    """
    found: dict[str, list[float]] = {"quiet": [], "disturbed": []}
    deadline = time.perf_counter() + job["seconds"]
    number = 0
    while len(found["quiet"]) < job["windows"] and time.perf_counter() < deadline:
        load, steps, begun = machine.Load(), 0, time.perf_counter()
        while time.perf_counter() - begun < job["window_seconds"]:
            steps += run(number)
            number += 1
        seconds = time.perf_counter() - begun
        found["quiet" if load.foreign() < QUIET else "disturbed"].append(seconds / steps)
    return found


def start(job: dict[str, Any]) -> dict[str, Any]:
    """From the start of Python to the end of the first step; the first step less the second."""
    network = replace(_network(job), samples=START_SAMPLES)
    training = _open(job, network, START_SAMPLES)
    orders = [training.order(row[None]) for row in _rows(job, network, 0)[:2]]
    begun = time.perf_counter()
    training.run(orders[0])
    first = time.perf_counter()
    since_start = time.time() - job["started"]
    training.run(orders[1])
    second = time.perf_counter()
    return {"start": since_start, "compile": (first - begun) - (second - first)}


def losses(job: dict[str, Any]) -> dict[str, Any]:
    """Losses of the first steps without dropout."""
    network = replace(_network(job), dropout=0.0)
    training = _open(job, network, None)
    found = training.run(training.order(_rows(job, network, 0)[:CHECKED_STEPS]))
    return {"losses": [float(x) for x in found]}


def peak(job: dict[str, Any]) -> dict[str, Any]:
    """The machine's peak, measured several times; the best is the peak."""
    from benchmarks.peak import Peak

    kernel = Peak()
    return {"gflops": [kernel.measure(job["threads"]) for _ in range(5)]}


def _network(job: dict[str, Any]) -> Network:
    return NETWORKS[job["workload"]]


def _rows(job: dict[str, Any], network: Network, epoch: int) -> np.ndarray:
    rows = network.order(network.chunk, epoch)
    return np.ascontiguousarray(np.broadcast_to(rows[:1], rows.shape)) if job["one_batch"] else rows


def _open(job: dict[str, Any], network: Network, samples: int | None) -> Any:
    from benchmarks.peers import open_training

    folder = Path(job["data"])
    inputs = np.load(folder / f"{network.name}-inputs.npy", mmap_mode="r" if samples else None)
    labels = np.load(folder / f"{network.name}-labels.npy", mmap_mode="r" if samples else None)
    data = (np.array(inputs[:samples]), np.array(labels[:samples])) if samples else (inputs, labels)
    return open_training(job["peer"], network, data, n_threads=job["threads"], engine=job["engine"])


if __name__ == "__main__":
    main()
