"""Fresh processes in turn: every library, the same threads, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.models import Steps
from benchmarks.workloads import TRAININGS, WORKLOADS, Network

ROOT = Path(__file__).parent.parent
TIMEOUT = 600.0


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Args:
        peers: Names of the libraries, chainrule among them or not.
        threads: Threads of every library.
        engine: chainrule's engine; None: its default.
        rounds: How often each library gets a process.
        windows: Quiet windows of timing a process.
        window_seconds: How long a window lasts at least.
        seconds: After which time a process stops waiting for quiet windows.
        starts: Whether compiling and the way to the first step are timed.
        one_batch: Every step takes the same batch, so that gathering costs next to nothing.
    """

    peers: tuple[str, ...]
    threads: int = 2
    engine: str | None = None
    rounds: int = 3
    windows: int = 5
    window_seconds: float = 0.2
    seconds: float = 15.0
    starts: bool = True
    one_batch: bool = False


@dataclass
class Measured:
    """What was seen of one library at one workload; times in seconds."""

    quiet: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    mean_loss: float | None = None
    error: float | None = None
    memory_bytes: int | None = None
    cold: dict[str, float] | None = None
    warm: dict[str, float] | None = None
    failure: str | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether at least three windows were quiet; else its times are not to be relied on."""
        return len(self.quiet) >= 3

    @property
    def windows(self) -> list[float]:
        """The quiet windows; where fewer than three were quiet, all."""
        return self.quiet if self.is_quiet else self.quiet + self.disturbed

    @property
    def median(self) -> float:
        """Seconds a step; NaN where nothing was measured."""
        return float(np.median(self.windows)) if self.windows else float("nan")

    @property
    def best(self) -> float:
        """Seconds a step in the fastest window."""
        return min(self.windows, default=float("nan"))


class Failed(Exception):
    """A worker ended without a result; the message is the end of its error output."""


class Driver:
    """Starts workers; one folder holds the data and the caches of a run."""

    def __init__(
        self, settings: Settings, folder: Path, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings, self.folder, self.say = settings, folder, say

    def peak(self) -> list[float]:
        """GFLOP/s of the fma kernel, measured now."""
        return self._run({"job": "peak"}, self.folder / "cache")["gflops"]

    def measure(self, name: str) -> tuple[dict[str, Measured], list[float]]:
        """All libraries at a workload, alternating; and the peaks seen meanwhile."""
        workload = WORKLOADS[name]
        chosen = [peer for peer in self.settings.peers if peers.fits(peer, workload)]
        if isinstance(workload, Network | Steps):
            self._save_data(workload)
        self._exact(name)
        found = {peer: Measured() for peer in chosen}
        peaks = []
        for number in range(self.settings.rounds):
            peaks += self.peak()
            for peer in chosen if number % 2 == 0 else chosen[::-1]:
                self.say(f"{name}: {peer}, round {number + 1} of {self.settings.rounds}")
                self._guarded(found[peer], self._timed, name, peer, found[peer])
        if isinstance(workload, Network | Steps):
            self._beside_the_speed(name, workload, found)
        return found, peaks

    def _exact(self, name: str) -> None:
        """Let PyTorch do a workload in float64, if no formulas of it are written out here."""
        self.exact_losses: list[float] | None = None
        if WORKLOADS[name].kind in ("steps", "call") and peers.installed("exact"):
            self.say(f"{name}: in float64")
            found = self._run({"job": "exact", "workload": name}, self._cache("exact"))
            self.exact_losses = found.get("losses")

    def _beside_the_speed(
        self, name: str, workload: Network | Steps, found: dict[str, Measured]
    ) -> None:
        for peer, measured in found.items():
            if workload.dropout:
                self.say(f"{name}: {peer}, losses without dropout")
                self._guarded(measured, self._losses, name, peer, measured)
            if self.settings.starts:
                self.say(f"{name}: {peer}, start")
                self._guarded(measured, self._starts, name, peer, measured)

    def _guarded(self, measured: Measured, job: Callable[..., None], *arguments: Any) -> None:
        if measured.failure is None:
            try:
                job(*arguments)
            except Failed as failed:
                measured.failure = str(failed)

    def _timed(self, name: str, peer: str, measured: Measured) -> None:
        kind = "speed" if name in TRAININGS else "calls"
        result = self._run({"job": kind, "workload": name, "peer": peer}, self._cache(peer))
        measured.quiet += result["quiet"]
        measured.disturbed += result["disturbed"]
        measured.losses = result.get("losses", [])
        measured.mean_loss = result.get("mean_loss")
        measured.memory_bytes = result.get("memory_bytes")
        measured.error = result.get("error")

    def _losses(self, name: str, peer: str, measured: Measured) -> None:
        job = {"job": "losses", "workload": name, "peer": peer}
        measured.losses = self._run(job, self._cache(peer))["losses"]

    def _starts(self, name: str, peer: str, measured: Measured) -> None:
        job = {"job": "start", "workload": name, "peer": peer}
        with tempfile.TemporaryDirectory(dir=self.folder) as empty:
            measured.cold = self._run(job, Path(empty))
            measured.warm = self._run(job, Path(empty))

    def _cache(self, peer: str) -> Path:
        return self.folder / "cache" / peer

    def _save_data(self, network: Network | Steps) -> None:
        for kind, array in zip(("inputs", "labels"), network.data(), strict=True):
            np.save(self.folder / f"{network.name}-{kind}.npy", array)

    def _run(self, job: dict[str, Any], cache: Path) -> dict[str, Any]:
        settings = self.settings
        cache.mkdir(parents=True, exist_ok=True)
        job = {
            "threads": settings.threads,
            "engine": settings.engine,
            "windows": settings.windows,
            "window_seconds": settings.window_seconds,
            "seconds": settings.seconds,
            "one_batch": settings.one_batch,
            "data": str(self.folder),
            "started": time.time(),
            **job,
        }
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(job)]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment(settings.threads, cache),
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"no result within {TIMEOUT:.0f} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise Failed(lines[-1] if lines else f"exit status {done.returncode}")
        return json.loads(done.stdout.strip().splitlines()[-1])


def environment(threads: int, cache: Path) -> dict[str, str]:
    """The environment of a worker: its threads, and caches in a folder of their own."""
    count = str(threads)
    # installed libraries have their bytecode when they start; so shall a checkout's
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(":"),
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NPROC": count,  # XLA's thread pool
        "JAX_PLATFORMS": "cpu",
        "CHAINRULE_NUM_THREADS": count,
        "XDG_CACHE_HOME": str(cache),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep this process, and so its workers, on as many cores as there are threads."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def installed_peers(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The libraries of ``names`` (None: all) that are installed."""
    return tuple(name for name in names or peers.PEERS if peers.installed(name))
