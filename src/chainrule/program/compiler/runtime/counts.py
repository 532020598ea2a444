"""How many threads a Program uses: what the user says, within what the system allows.

The setting is the first of: ``cr.set_num_threads``; ``CHAINRULE_NUM_THREADS``;
``OMP_NUM_THREADS``, which joblib sets for its worker processes so that they do not fight for the
cores; 1 in the worker processes of a ``multiprocessing.Pool``. It never exceeds the cores of
the process's affinity and of its control group's quota; without a setting it equals them.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from chainrule.errors import ArgumentError

_asked: int | None = None
_exact: int | None = None


def set_num_threads(n: int | None) -> None:
    """Say on how many threads compiled Programs run, at most; results do not depend on it.

    Args:
        n: At least 1; more than the cores that this process may use has no effect. None: back to
            ``CHAINRULE_NUM_THREADS``, or all cores.

    Raises:
        ArgumentError: n is not a whole number of at least 1.
    """
    global _asked
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
        raise ArgumentError(
            "a number of threads is a whole number of at least 1",
            expected="1, 2, ... or None for as many as there are cores",
            got=repr(n),
        )
    _asked = n


def get_num_threads() -> int:
    """The number of threads that compiled Programs run on now; tiny ones use one all the same.

    Raises:
        ArgumentError: ``CHAINRULE_NUM_THREADS`` is not a whole number of at least 1.
    """
    if _exact is not None:
        return _exact
    asked = _asked if _asked is not None else _from_environment()
    return available_cores() if asked is None else min(asked, available_cores())


@contextlib.contextmanager
def exactly(n: int) -> Iterator[None]:
    """Make ``get_num_threads`` answer n inside, cores or not: for tests and measurements."""
    global _exact
    before, _exact = _exact, n
    try:
        yield
    finally:
        _exact = before


def _from_environment() -> int | None:
    text = os.environ.get("CHAINRULE_NUM_THREADS", "").strip()
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ArgumentError(
                "CHAINRULE_NUM_THREADS is not a whole number of at least 1",
                expected="1, 2, ...",
                got=repr(text),
                fix="unset it to use all cores",
            )
        return int(text)
    # a list such as "4,2" is for nested levels: the first is ours
    shared = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if shared.isdecimal() and int(shared) >= 1:
        return int(shared)
    # the module is loaded in every process that multiprocessing started
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.current_process().daemon:
        return 1
    return None


@functools.cache
def available_cores() -> int:
    """Cores that this process may use, by affinity and control group; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_cores()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


if hasattr(os, "register_at_fork"):
    # a child may be moved to other cores before it computes
    os.register_at_fork(after_in_child=available_cores.cache_clear)


def cgroup_cores(root: Path = Path("/")) -> float | None:
    """Processor time that Linux's control groups grant, in cores; None: no limit.

    Reads version 2 (``cpu.max``) and version 1 (``cpu.cfs_quota_us``), and the parents of the
    process's group, since each of them limits it.

    Args:
        root: Where ``proc`` and ``sys`` lie.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text()
        mounts = (root / "proc/self/mountinfo").read_text()
    except OSError:
        return None
    quotas = []
    for kind, top, folder in _mounts(mounts):
        path = _group(groups, kind)
        if path is None:
            continue
        # inside a container the mount shows the container's group as its top
        inner = path[len(top) :] if path.startswith(top) else ""
        here = root / folder.lstrip("/")
        quotas.append(_quota(here, kind))
        for part in Path(inner.strip("/")).parts:
            here = here / part
            quotas.append(_quota(here, kind))
    return min((q for q in quotas if q is not None), default=None)


def _mounts(text: str) -> Iterator[tuple[str, str, str]]:
    """Control group mounts: ``cgroup2`` or ``cgroup``, the group at its top, its folder."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2" or (kinds[0] == "cgroup" and "cpu" in kinds[2].split(",")):
            yield kinds[0], fields[3].rstrip("/"), fields[4]


def _group(text: str, kind: str) -> str | None:
    """The process's group in the hierarchy of that kind."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if kind == "cgroup2" and number == "0" and not controllers:
            return path
        if kind == "cgroup" and "cpu" in controllers.split(","):
            return path
    return None


def _quota(folder: Path, kind: str) -> float | None:
    """The limit that one group sets itself."""
    try:
        if kind == "cgroup2":
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        if quota == "max" or int(quota) <= 0 or int(period) <= 0:
            return None
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None
