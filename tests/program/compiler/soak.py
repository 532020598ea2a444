"""A long life in one process: many steps, many Programs; prints the resident memory as it goes.

``python tests/program/compiler/soak.py steps 100000``, or ``programs 1000``, ``libraries 3000``.
"""

import gc
import os
import sys
import warnings
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim, random
from chainrule.nn import functional
from chainrule.program import run_steps
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.target import host_target


def resident_megabytes():
    """Memory of this process that lies in main memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def make_step():
    """A training step with dropout; each call gives a function of its own."""

    def step(model, optimizer, x, y):
        loss, found = cr.value_and_grad(lambda m: functional.cross_entropy(m(x), y))(model)
        optimizer.update(model, found)
        return loss

    return step


def data_of():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3000, 12)).astype(np.float32), rng.integers(0, 5, 3000)


def steps(total, report):
    """Steps of one model: three quarters in long runs, the others one call a step."""
    random.seed(0)
    layers = [nn.Linear(12, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 5)]
    model, optimizer, data = nn.Sequential(*layers), optim.Adam(0.001), data_of()
    step = make_step()
    single = cr.compile(step)
    rng = np.random.default_rng(1)
    done, mark = 0, total // 10
    while done < total:
        order = rng.integers(0, 3000, (max(1, total // 1000), 16))
        run_steps(step, [model, optimizer], data, order)
        done += len(order)
        for rows in order[: len(order) // 3]:
            single(model, optimizer, data[0][rows], data[1][rows])
            done += 1
        if done >= mark:
            report(done, resident_megabytes())
            mark += total // 10


def programs(total, report):
    """Programs that are all different: one function at many batch sizes, and many functions."""
    rng = np.random.default_rng(2)
    step, data = make_step(), data_of()
    model, optimizer = nn.Linear(12, 5), optim.SGD(0.01)
    sizes = rng.permutation(3000)[:total] + 1
    for number, size in enumerate(sizes, 1):
        if number % 2:
            order = rng.integers(0, 3000, (2, size))
            run_steps(step, [model, optimizer], data, order)
        else:
            rows = rng.integers(0, 3000, size)
            cr.compile(make_step())(model, optimizer, data[0][rows], data[1][rows])
        if number % max(1, total // 10) == 0:
            report(number, resident_megabytes())


def libraries(total, report):
    """Machine code that is loaded and dropped."""
    code = jit.emit_object("define void @program() { ret void }", host_target())
    for number in range(1, total + 1):
        jit.load([code], ["program"])
        if number % max(1, total // 10) == 0:
            report(number, resident_megabytes())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    kind = {"steps": steps, "programs": programs, "libraries": libraries}[sys.argv[1]]
    kind(int(sys.argv[2]), lambda done, megabytes: print(f"{done} {megabytes:.1f}", flush=True))
