"""Several Python threads that compile and run Programs at once."""

import gc
import sys
import threading
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, ops, optim
from chainrule.array import asarray, trace
from chainrule.nn import functional
from chainrule.program import run_steps
from chainrule.program.compiler.native import NativeProgram

sys.path.insert(0, str(Path(__file__).parent))
from random_graphs import compare


def together(n, function):
    """Run ``function(number)`` in n threads that begin at once; raise what one of them raised."""
    errors, results = [], [None] * n
    gate = threading.Barrier(n)

    def run(number):
        try:
            gate.wait()
            results[number] = function(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def work(size):
    """A function of its own for each size, large enough for a team of threads."""

    def function(x):
        y = ops.tanh(x @ ops.matrix_transpose(x)) * float(size)
        return ops.sum(y / (1.0 + ops.abs(y)), axis=0)

    x = np.random.default_rng(size).normal(size=(64 + size, 48)).astype(np.float32)
    return function, x


def test_the_same_program_in_all_threads():
    function, x = work(3)
    compiled = cr.compile(function, engine="compiler")
    expected = cr.compile(function, engine="interpreter")(x).numpy()

    def run(number):
        return [compiled(x).numpy() for _ in range(20)]

    for results in together(4, run):
        for found in results:
            assert found.tobytes() == results[0].tobytes()
            compare(found, expected, "")
    assert compiled.n_compilations == 1


def test_different_programs_at_once():
    """Each thread compiles, runs and drops programs; code must stay while it runs."""

    def run(number):
        for turn in range(4):
            function, x = work(10 * number + turn)
            graph = trace(function, [asarray(x)])
            program = NativeProgram(graph)
            program.code.threads = 2
            first = [program.run([x])[0].tobytes() for _ in range(5)]
            compare(program.run([x])[0], cr.compile(function, engine="interpreter")(x).numpy(), "")
            assert len(set(first)) == 1
            del program
            gc.collect()

    together(4, run)


def test_code_stays_while_it_runs_though_the_program_is_dropped():
    function, x = work(5)
    held = {"program": NativeProgram(trace(function, [asarray(x)]))}
    expected = held["program"].run([x])[0].tobytes()
    stop = threading.Event()

    def run(number):
        if number == 0:
            for _ in range(20):
                held["program"] = NativeProgram(trace(function, [asarray(x)]))
                gc.collect()
            stop.set()
            return
        while not stop.is_set():
            assert held["program"].run([x])[0].tobytes() == expected

    together(3, run)


def train(seed):
    """A small training; its own model, optimizer and random state."""
    weights = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(6, 16 + seed), nn.ReLU(), nn.Linear(16 + seed, 3))
    drawn = {name: weights.normal(size=x.shape) * 0.3 for name, x in model.state_dict().items()}
    model.load_state_dict({name: x.astype(np.float32) for name, x in drawn.items()})
    optimizer = optim.Adam(0.01)

    def step(model, optimizer, x, y):
        loss, found = cr.value_and_grad(lambda m: functional.cross_entropy(m(x), y))(model)
        optimizer.update(model, found)
        return loss

    x = weights.normal(size=(40, 6)).astype(np.float32)
    order = weights.integers(0, 40, (60, 8))
    return run_steps(step, [model, optimizer], [x, weights.integers(0, 3, 40)], order).tobytes()


def test_trainings_at_once_give_what_they_give_alone():
    alone = [train(seed) for seed in range(3)]
    assert together(3, train) == alone
