"""``chainrule doctor``: what this machine has, and whether the library works on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import typer

from chainrule.array import asarray
from chainrule.autodiff import check_gradients, value_and_grad
from chainrule.cli.console import output, print_facts
from chainrule.ops import matmul, tanh
from chainrule.program import ENGINES, compile
from chainrule.program.compiler.runtime.counts import available_cores, get_num_threads
from chainrule.program.compiler.target import host_target
from chainrule.version import VERSION

PACKAGES = (
    "numpy",
    "ml_dtypes",
    "safetensors",
    "rich",
    "typer",
    "pillow",
    "matplotlib",
    "llvmlite",
)
CPU_FEATURES = ("sse2", "avx", "avx2", "fma", "avx512f", "neon", "asimd")


def doctor() -> None:
    """Print versions, CPU features and threads, and check the library in a few seconds."""
    features = ", ".join(cpu_features()) or "features unknown"
    code = "none: Programs are interpreted (pip install llvmlite)"
    if "compiler" in ENGINES:
        code = f"for {host_target().name}, on {_threads()}"
    facts = [
        ("chainrule", VERSION),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("CPU", f"{cpu_name()}; {features}"),
        ("CPUs usable", f"{available_cores()} of {os.cpu_count()}"),
        ("machine code", code),
    ]
    facts += [(package, installed_version(package)) for package in PACKAGES]
    print_facts(facts)
    passed = [_report(name, check) for name, check in CHECKS.items()]
    if not all(passed):
        raise typer.Exit(1)


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def cpu_features() -> list[str]:
    """The vector instructions that matter for speed, of those the system lists."""
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return []
    for line in information.read_text().splitlines():
        if line.startswith(("flags", "Features")):
            found = set(line.split(":", 1)[1].split())
            return [name for name in CPU_FEATURES if name in found]
    return []


def installed_version(package: str) -> str:
    """The version of an installed package, or that it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _threads() -> str:
    """``1 thread``, ``2 threads``."""
    count = get_num_threads()
    return "1 thread" if count == 1 else f"{count} threads"


def _check_products() -> str:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(512, 512)).astype("f"), rng.normal(size=(512, 512)).astype("f")
    multiply = compile(matmul, engine=ENGINES[0])
    x, y = asarray(a), asarray(b)
    seconds = []
    for _ in range(9):  # the first one compiles
        start = time.perf_counter()
        product = multiply(x, y).numpy()
        seconds.append(time.perf_counter() - start)
    error = float(np.abs(product - a.astype("d") @ b.astype("d")).max())
    if error > 1e-3:
        raise ArithmeticError(f"a product of 512 × 512 matrices is off by {error:.2g}")
    return f"512 × 512 product: error {error:.1e}, {2 * 512**3 / min(seconds) / 1e9:.0f} GFLOP/s"


def _check_gradients() -> str:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    check_gradients(lambda a, b: tanh(matmul(a, b)), (asarray(x), asarray(w)))
    return "gradients agree with finite differences"


def _check_training() -> str:
    def step(state: dict[str, object]) -> object:
        loss, gradient = value_and_grad(lambda w: ((w - 3.0) ** 2).sum())(state["w"])
        state["w"] = state["w"] - 0.1 * gradient
        return loss

    for engine in ENGINES:
        compiled = compile(step, engine=engine)
        state: dict[str, object] = {"w": asarray([0.0, 10.0])}
        for _ in range(100):
            compiled(state)
        if not np.allclose(np.asarray(state["w"]), 3.0, atol=1e-3):
            raise ArithmeticError(f"{engine}: gradient descent ended at {state['w']}, not at 3")
    return f"100 steps of gradient descent converge on the {' and the '.join(ENGINES)}"


CHECKS = {
    "matrix product": _check_products,
    "derivatives": _check_gradients,
    "training": _check_training,
}


def _report(name: str, check: Callable[[], str]) -> bool:
    try:
        output.print(f"[green]ok[/]   {name}: {check()}")
    except Exception as error:
        output.print(f"[bold red]FAIL[/] {name}: {error}")
        return False
    return True
