"""What the compiler tells while it works, on the log ``chainrule.compiler``.

``CHAINRULE_DEBUG`` says how much; each level holds those below:

1. a line a compilation: function, signature, kernels, time, whether the cache had it
2. the schedule: kernels with their work, loops, barriers; the time of each part of the compiler
3. blocks before and after each pass, and the loop nests of kernels
4. LLVM IR and assembly

Where the program has set up no logging, the lines go to the error stream.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence

from chainrule.errors import ArgumentError

LOG = "chainrule.compiler"
COMPILATIONS, SCHEDULES, NESTS, CODE = 1, 2, 3, 4
_SHOWN = 4  # inputs of a signature


def level() -> int:
    """How much to tell, from 0 (nothing) to 4: the value of ``CHAINRULE_DEBUG``.

    Raises:
        ArgumentError: It is something else.
    """
    text = os.environ.get("CHAINRULE_DEBUG", "").strip()
    if not text:
        return 0
    if text not in ("0", "1", "2", "3", "4"):
        raise ArgumentError(
            "CHAINRULE_DEBUG is no level",
            expected="0 to 4",
            got=repr(text),
            fix="unset it to be told nothing",
        )
    return int(text)


def tell(wanted: int, text: Callable[[], str]) -> None:
    """Log a text if the level is high enough.

    Args:
        wanted: The level from which it is told.
        text: Makes the text; called only then.
    """
    if level() < wanted:
        return
    import logging  # takes longer to load than a whole Program from the cache

    logger = logging.getLogger(LOG)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    logger.info("%s", text())


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Tell, from level 2, how long a part of the compiler took."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    tell(SCHEDULES, lambda: f"  {what}: {seconds * 1e3:.1f} ms")


def compilation(
    name: str,
    number: int,
    inputs: Sequence[str],
    n_kernels: int,
    seconds: float,
    from_cache: bool,
) -> str:
    """The line of a compilation.

    Args:
        name: The function.
        number: How many signatures of it there were up to this one.
        inputs: What it reads, as text; only the last few are shown.
        n_kernels: Kernels of its machine code.
        seconds: How long it took.
        from_cache: An earlier process made it.

    >>> compilation("step", 2, ["x float32[32, 784]"], 14, 0.1301, False)
    'step, compilation 2 (x float32[32, 784]): 14 kernels, 130.1 ms, compiled'
    """
    # batches stand behind the state, and are what changes from one compilation to the next
    more = f"{len(inputs) - _SHOWN} more, " if len(inputs) > _SHOWN else ""
    origin = "from the cache" if from_cache else "compiled"
    kernels = "1 kernel" if n_kernels == 1 else f"{n_kernels} kernels"
    return (
        f"{name}, compilation {number} ({more}{', '.join(inputs[-_SHOWN:])}): "
        f"{kernels}, {seconds * 1e3:.1f} ms, {origin}"
    )
