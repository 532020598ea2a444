"""Results as a table of at most 80 columns, and as plain data for a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.agreement import Verdict
from benchmarks.driver import Measured
from benchmarks.workloads import Product, Workload

OURS = "chainrule"


@dataclass(frozen=True)
class Result:
    """A workload, what each library took, whether they agreed, and the peaks (GFLOP/s)."""

    workload: Workload
    measured: Mapping[str, Measured]
    verdicts: Mapping[str, Verdict]
    peaks: list[float]

    @property
    def peak(self) -> float:
        """GFLOP/s: the best of the run, as whatever disturbs only lowers it."""
        return max(self.peaks)

    @property
    def floor(self) -> float:
        """Seconds a step would take if only its products took time, at peak."""
        return self.workload.flops / self.peak / 1e9

    def best_peer(self) -> str | None:
        """The fastest library but chainrule of those whose results are right."""
        times = {
            peer: seen.median
            for peer, seen in self.measured.items()
            if peer != OURS and self.verdicts[peer].equal and not math.isnan(seen.median)
        }
        return min(times, key=times.__getitem__, default=None)

    def ratio(self, peer: str) -> float:
        """How many times faster than the best peer; NaN where there is none."""
        best = self.best_peer()
        return self.measured[best].median / self.measured[peer].median if best else math.nan

    def share(self, peer: str) -> float:
        """Share of the peak, 0 to 1."""
        return self.floor / self.measured[peer].median


def show(result: Result) -> str:
    """The table of one workload."""
    workload = result.workload
    lines = [
        f"{workload.name}: {workload.title}",
        f"  {workload.flops / 1e6:.2f} MFLOP; peak {result.peak:.0f} GFLOP/s "
        f"(median {np.median(result.peaks):.0f}); floor {result.floor * 1e6:.1f} µs",
        "",
        "                                              compile s    to 1st step s",
        "                µs/step     best  ×best  peak   cold   warm   cold   warm  MB",
    ]
    for peer, seen in result.measured.items():
        lines.append(_row(result, peer, seen))
    notes = [f"  {peer}: {x.why}" for peer, x in result.verdicts.items() if not x.equal]
    notes += [
        f"  {peer}: fewer than three of its windows were quiet"
        for peer, seen in result.measured.items()
        if seen.windows and not seen.is_quiet
    ]
    return "\n".join(lines + notes) + "\n"


def _row(result: Result, peer: str, seen: Measured) -> str:
    if not seen.windows:
        return f"{peer:14} {'–':>8}"
    cold, warm = seen.cold or {}, seen.warm or {}
    memory = "" if seen.memory_bytes is None else f"{max(0, seen.memory_bytes) / 1e6:4.0f}"
    return (
        f"{peer:14} {_micro(seen.median)} {_micro(seen.best)} {_number(result.ratio(peer), 2)}"
        f" {100 * result.share(peer):4.0f}% {_number(cold.get('compile'), 2)}"
        f" {_number(warm.get('compile'), 2)} {_number(cold.get('start'), 2)}"
        f" {_number(warm.get('start'), 2)} {memory:>4}"
    ).rstrip()


def _micro(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:8.2f}" if micro < 100 else f"{micro:8.0f}"


def _number(value: float | None, digits: int) -> str:
    return f"{'':6}" if value is None or math.isnan(value) else f"{value:6.{digits}f}"


def summary(results: Mapping[str, Result]) -> str:
    """One line a workload: chainrule, the best peer, and how many times faster; products' mean."""
    lines = ["workload     chainrule µs  best peer             µs    times  of peak"]
    ratios = []
    for name, result in results.items():
        best, ours = result.best_peer(), result.measured.get(OURS)
        if best is None or ours is None or not ours.windows:
            continue
        ratio = result.ratio(OURS)
        lines.append(
            f"{name:12} {_micro(ours.median):>12}  {best:13} "
            f"{_micro(result.measured[best].median)} {ratio:7.2f}× {result.share(OURS):8.0%}"
            f"{'' if ours.is_quiet and result.measured[best].is_quiet else ' disturbed'}"
        )
        if isinstance(result.workload, Product):
            ratios.append(ratio)
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(f"products, geometric mean {mean:31.2f}×")
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def as_data(result: Result) -> dict[str, Any]:
    """Everything of a result in plain numbers and strings."""
    return {
        "workload": result.workload.title,
        "flops": result.workload.flops,
        "peak_gflops": result.peaks,
        "floor_seconds": result.floor,
        "best_peer": result.best_peer(),
        "measured": {
            peer: {**asdict(seen), "median": seen.median, "verdict": asdict(result.verdicts[peer])}
            for peer, seen in result.measured.items()
        },
    }
