"""Small programs whose kernels are kept as text, in ``listings/``: what fuses with what.

They are listed for one target, so they are the same on every machine. Where a change of the
compiler is meant to change them, renew them and read the difference::

    python tests/program/compiler/listed_programs.py
"""

import itertools
import re
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, ops, optim, random
from chainrule.array import asarray, trace
from chainrule.control import cond, scan
from chainrule.graph import Graph
from chainrule.nn import functional
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.native import assemble_epoch, assemble_program
from chainrule.program.compiler.schedule import listing
from chainrule.program.compiler.target import TARGETS
from chainrule.program.steps import prepare_steps

FOLDER = Path(__file__).parent / "listings"
LINE = re.compile(r", of [\w.]+\.py:\d+$", re.MULTILINE)  # of these files: they change too often


def floats(*shape, dtype="float32"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def integers(most, *shape):
    return np.random.default_rng(0).integers(0, most, shape)


def text_of(made):
    """Kernels in order, with their work; the memory that a run borrows."""
    machine = made.machine
    threads = "one thread" if machine.n_threads == 1 else "a team"
    lines = LINE.sub("", listing(made.schedule))
    return f"arena {machine.arena_bytes} bytes, worth {threads}\n{lines}\n"


def program(function, *arrays):
    """The listing of a function that is evaluated once."""
    graph = trace(function, [asarray(x) for x in arrays])
    return text_of(plan(assemble_program(Graph(graph.inputs, graph.outputs)), TARGETS["avx2"]))


def gradients(function, *arrays):
    """The listing of a sum's derivatives by the first argument."""

    def total(*values):
        return cr.grad(lambda x: ops.sum(function(x, *values[1:]) ** 2))(values[0])

    return program(total, *arrays)


def training(layers, optimizer, batch=32, clip=None, **dropped):
    """The listing of training steps of a classifier, on batches gathered from data."""
    random.seed(0)
    model = nn.Sequential(*layers)
    n_inputs = next(x.weight.shape[1] for x in layers if isinstance(x, nn.Linear))
    data = floats(100, n_inputs), integers(10, 100)

    def step(model, optimizer, x, y):
        loss, found = cr.value_and_grad(lambda m: functional.cross_entropy(m(x), y))(model)
        if clip is not None:
            found, _ = optim.clip_by_global_norm(found, clip)
        optimizer.update(model, found)
        return loss

    order = np.arange(2 * batch).reshape(2, batch) % 100
    steps = prepare_steps(step, [model, optimizer], data, order)
    traced = steps.program
    state = [write.slot for write in traced.writes]
    roles = traced.n_outputs, steps.batch_slots, sorted(steps.vectors), state
    return text_of(plan(assemble_epoch(traced.graph, *roles), TARGETS["avx2"]))


def layer_norm(x, weight, bias):
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    spread = ops.sqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + 1e-5)
    return centred / spread * weight + bias


def batch_statistics(x):
    mean, variance = ops.mean(x, axis=0), ops.var(x, axis=0)
    return (x - mean) / ops.sqrt(variance + 1e-5), mean * 0.1, variance * 0.1


def normed(x, w, v, scale):
    """Two convolutions, each with batch norm and ReLU behind it."""
    for weight in (w, v):
        z = ops.convolution(x, weight, padding=1)
        x = ops.relu(functional.batch_norm(z, weight=scale, bias=scale, training=True))
    return x


def recurrence(x, w):
    def turn(state, row):
        new = ops.tanh(row + state @ w)
        return new, new

    return scan(turn, ops.zeros((8, 16)), x)[1]


def measures(logits, labels):
    found = ops.argmax(logits, axis=1)
    accuracy = ops.mean((found == labels).astype("float32"))
    return accuracy, ops.mean(functional.cross_entropy(logits, labels))


def mixed(x, half, wide):
    return (x * half.astype("float32") + 1.0).astype("bfloat16"), ops.sum(wide * 2.0, axis=0)


def dropped(x):
    keep = random.bernoulli(random.key(3), 0.8, x.shape)
    return ops.where(keep, ops.relu(x) / 0.8, 0.0)


def layers(*sizes, between=()):
    """Linear layers with ReLU between them."""
    found = [nn.Linear(sizes[0], sizes[1])]
    for before, after in itertools.pairwise(sizes[1:]):
        found += [nn.ReLU(), *between, nn.Linear(before, after)]
    return found


PROGRAMS = {
    "linear": lambda: program(
        lambda x, w, b: x @ ops.matrix_transpose(w) + b, floats(32, 64), floats(20, 64), floats(20)
    ),
    "mlp_sgd": lambda: training(layers(64, 32, 10), optim.SGD(0.1)),
    "mlp_adam": lambda: training(layers(64, 32, 10), optim.Adam(1e-3)),
    "mlp_dropout_momentum": lambda: training(
        layers(64, 32, 10, between=[nn.Dropout(0.2)]), optim.SGD(0.1, momentum=0.9)
    ),
    "global_norm": lambda: training(layers(64, 32, 10), optim.SGD(0.1), clip=1.0),
    "cross_entropy": lambda: program(
        cr.value_and_grad(functional.cross_entropy), floats(32, 10), integers(10, 32)
    ),
    "layer_norm": lambda: program(layer_norm, floats(32, 48), floats(48), floats(48)),
    "layer_norm_gradient": lambda: gradients(layer_norm, floats(32, 48), floats(48), floats(48)),
    "batch_statistics": lambda: program(batch_statistics, floats(64, 24)),
    "embedding": lambda: program(
        lambda table, words: ops.take(table, words, axis=0) * 2.0,
        floats(50, 16), integers(50, 4, 8),
    ),
    "embedding_gradient": lambda: gradients(
        lambda table, words: ops.take(table, words, axis=0), floats(50, 16), integers(50, 4, 8)
    ),
    "convolution_relu": lambda: program(
        lambda x, w, b: ops.relu(ops.convolution(x, w, padding=1) + b[:, None, None]),
        floats(4, 3, 12, 12), floats(8, 3, 3, 3), floats(8),
    ),
    "batch_norm_gradient": lambda: gradients(
        normed, floats(16, 4, 16, 16), floats(8, 4, 3, 3), floats(8, 8, 3, 3), floats(8)
    ),
    "max_pool": lambda: program(lambda x: ops.max_pool(x, (2, 2)), floats(4, 8, 12, 12)),
    "max_pool_gradient": lambda: gradients(
        lambda x: ops.max_pool(x, (2, 2)), floats(4, 8, 12, 12)
    ),
    "transposes": lambda: program(
        lambda x: ops.tanh(ops.permute_dims(ops.permute_dims(x, (2, 0, 1)) * 2.0, (1, 2, 0))).mT,
        floats(6, 8, 10),
    ),
    "parts": lambda: program(
        lambda x, y: ops.pad(ops.concat([x, y * 2.0], axis=1)[1:, 2:-2], ((1, 0), (0, 3))),
        floats(9, 12), floats(9, 7),
    ),
    "cumulative_sum": lambda: program(
        lambda x: ops.cumulative_sum(x * 2.0, axis=1) + 1.0, floats(20, 30)
    ),
    "sort": lambda: program(lambda x: ops.sort(ops.abs(x), axis=1), floats(10, 40)),
    "scan": lambda: program(recurrence, floats(5, 8, 16), floats(16, 16)),
    "scan_gradient": lambda: gradients(recurrence, floats(5, 8, 16), floats(16, 16)),
    "cond": lambda: program(
        lambda x: cond(ops.sum(x) > 0.0, lambda v: ops.tanh(v) @ v, lambda v: v * 2.0, x),
        floats(16, 16),
    ),
    "dropout": lambda: program(dropped, floats(16, 64)),
    "mixed_types": lambda: program(
        mixed, floats(12, 20), floats(12, 20, dtype="float16"), floats(12, 20, dtype="float64")
    ),
    "measures": lambda: program(measures, floats(32, 10), integers(10, 32)),
}  # fmt: skip


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    for name, make in PROGRAMS.items():
        (FOLDER / f"{name}.txt").write_text(make(), encoding="utf-8")
