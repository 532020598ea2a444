"""What the machine and the process say of themselves: load, memory, names."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""Units of /proc/stat."""


def describe() -> dict[str, str | int]:
    """The processor's name, its cores, the system and Python."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [x for x in information.read_text().splitlines() if x.startswith("model name")]
        name = names[0].split(":")[1].strip() if names else name
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def memory(field: str) -> int:
    """Bytes of this process by /proc/self/status: "VmRSS" (now) or "VmHWM" (at most)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def reset_highest_memory() -> None:
    """Let "VmHWM" begin again at what is used now."""
    Path("/proc/self/clear_refs").write_text("5")


def _busy_seconds() -> float:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, soft, stolen = map(int, fields)
    return (user + nice + system + irq + soft + stolen) / TICKS_PER_SECOND


class Load:
    """How much processor time others took between ``__init__`` and ``foreign``."""

    def __init__(self) -> None:
        self._busy, self._own = _busy_seconds(), time.process_time()
        self._start = time.perf_counter()

    def foreign(self) -> float:
        """Share of one core that other processes, or other machines on the host, took."""
        seconds = time.perf_counter() - self._start
        others = _busy_seconds() - self._busy - (time.process_time() - self._own)
        return max(0.0, others / seconds)
