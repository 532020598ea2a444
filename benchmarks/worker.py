"""One measurement in a process of its own: ``python -m benchmarks.worker '{...}'``.

The only line on standard output is the result as JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.models import Call, Steps
from benchmarks.workloads import TRAININGS, WORKLOADS, Network, Product

START_SAMPLES = 4096
"""Samples of the data when the start is timed: reading more is no library's merit."""

ORDERS = 4
"""Epoch orders made beforehand, taken in turn."""

QUIET = 0.06
"""A window is quiet where others took less than this share of a core."""

CHECKED_STEPS = 10
"""First steps whose losses are compared, at most."""


def main() -> None:
    """Run the job that the argument describes."""
    job = json.loads(sys.argv[1])
    known = (speed, start, losses, exact, calls, peak)
    jobs = {function.__name__: function for function in known}
    print(json.dumps(jobs[job["job"]](job)))


def speed(job: dict[str, Any]) -> dict[str, Any]:
    """Times of windows, memory, and the losses of the first steps."""
    from benchmarks.peers import import_driver

    network = _network(job)
    import_driver(job["peer"], network.kind)
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
    added = machine.memory("VmHWM") - imported - network.data_bytes - network.resident_bytes
    return {
        **times,
        "losses": [float(x) for x in first[: checked_steps(network)]],
        "mean_loss": float(np.mean(first)),
        "memory_bytes": added,
    }


def calls(job: dict[str, Any]) -> dict[str, Any]:
    """Times of windows of a product or another function, and how far its result is off."""
    from benchmarks.peers import open_calls

    workload = WORKLOADS[job["workload"]]
    assert isinstance(workload, Product | Call)
    options = {"n_threads": job["threads"], "engine": job["engine"]}
    opened = open_calls(job["peer"], workload, **options)
    result = opened.run(_checked_calls(workload))
    expected = _expected(workload, Path(job["data"]))

    def run(number: int) -> int:
        opened.run(workload.chunk)
        return workload.chunk

    run(0)
    error = None
    if expected is not None:
        error = float(np.abs(result - expected).max() / np.abs(expected).max())
    return {**windows(run, job), "error": error}


def _checked_calls(workload: Product | Call) -> int:
    """After how many calls the result is compared: those of a text depend on the ones before."""
    return workload.chunk if workload.name == "generation" else 1


def _expected(workload: Product | Call, folder: Path) -> np.ndarray | None:
    """The result in float64: by NumPy, or what the job "exact" left."""
    if isinstance(workload, Product):
        left, right = (x.astype(np.float64) for x in workload.operands())
        return (left.T if workload.transposed else left) @ right
    kept = folder / f"{workload.name}-exact.npy"
    return np.load(kept) if kept.exists() else None


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
    whole = _network(job)
    network = replace(whole, samples=min(START_SAMPLES, whole.samples))
    training = _open(job, network, network.samples)
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
    found = training.run(training.order(_rows(job, network, 0)[: checked_steps(network)]))
    return {"losses": [float(x) for x in found]}


def exact(job: dict[str, Any]) -> dict[str, Any]:
    """What results are compared with, in float64 by PyTorch: losses, or a result in a file."""
    from benchmarks.peers import open_calls

    workload = WORKLOADS[job["workload"]]
    if not isinstance(workload, Call):
        return losses({**job, "peer": "exact"})
    opened = open_calls("exact", workload, n_threads=job["threads"], engine=None)
    result = opened.run(_checked_calls(workload))
    np.save(Path(job["data"]) / f"{workload.name}-exact.npy", result)
    return {}


def peak(job: dict[str, Any]) -> dict[str, Any]:
    """The machine's peak, measured several times; the best is the peak."""
    from benchmarks.peak import Peak

    kernel = Peak()
    return {"gflops": [kernel.measure(job["threads"]) for _ in range(5)]}


def checked_steps(network: Network | Steps) -> int:
    """First steps whose losses are compared: of a large network those of a chunk."""
    return CHECKED_STEPS if isinstance(network, Network) else min(CHECKED_STEPS, network.chunk)


def _network(job: dict[str, Any]) -> Network | Steps:
    return TRAININGS[job["workload"]]


def _rows(job: dict[str, Any], network: Network | Steps, epoch: int) -> np.ndarray:
    rows = network.order(network.chunk, epoch)
    return np.ascontiguousarray(np.broadcast_to(rows[:1], rows.shape)) if job["one_batch"] else rows


def _open(job: dict[str, Any], network: Network | Steps, samples: int | None) -> Any:
    from benchmarks.peers import open_training

    folder = Path(job["data"])
    inputs = np.load(folder / f"{network.name}-inputs.npy", mmap_mode="r" if samples else None)
    labels = np.load(folder / f"{network.name}-labels.npy", mmap_mode="r" if samples else None)
    data = (np.array(inputs[:samples]), np.array(labels[:samples])) if samples else (inputs, labels)
    return open_training(job["peer"], network, data, n_threads=job["threads"], engine=job["engine"])


if __name__ == "__main__":
    main()
