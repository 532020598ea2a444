"""Random graphs: recipes of ops drawn by a ``random.Random``, hypothesis's too, and their check."""

import functools
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.autodiff.reverse import pull_back
from chainrule.control import cond, scan
from chainrule.graph import Graph
from chainrule.ops import dtypes
from chainrule.program.compiler.native import NativeProgram
from chainrule.program.interpreter import Plan

sys.path.insert(0, str(Path(__file__).parent))
import random_kinds

SIZES = [0, 1, 2, 3, 3, 4, 5, 7, 8, 16, 17, 33]
MOST = 6000  # elements of a value: graphs stay quick
TOLERANCE = {"bfloat16": 0.3, "float16": 0.04, "float32": 2e-5, "float64": 1e-11}


@dataclass(frozen=True)
class Known:
    """What is known of a value while graphs are drawn.

    Args:
        shape: Its shape.
        dtype: Its type.
        exact: Both engines compute the same bits, so it may be compared or rounded.
        bound: Rough size of its elements.
    """

    shape: tuple
    dtype: object
    exact: bool
    bound: float


@dataclass
class Recipe:
    """A graph to be built: inputs, and steps that name the earlier values which they read."""

    inputs: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    known: list = field(default_factory=list)

    def build(self, *arrays):
        """All values that no later step reads."""
        values = list(arrays)
        for _, function, operands in self.steps:
            values.append(function(*(values[i] for i in operands)))
        read = {i for _, _, operands in self.steps for i in operands}
        return [v for i, v in enumerate(values) if i not in read and i >= len(arrays)]

    def gradients(self, *arrays):
        """Derivatives of a random combination of the results by all floating inputs."""
        results = [y for y in self.build(*arrays) if dtypes.is_floating(y.dtype)]
        rng = np.random.default_rng(len(self.steps))
        cotangents = [asarray(rng.normal(size=y.shape), dtype=y.dtype) for y in results]
        wanted = [x for x in arrays if dtypes.is_floating(x.dtype)]
        found = pull_back(results, cotangents, wanted)
        return [g for g in found if g is not None]

    def both(self, *arrays):
        """Results and derivatives."""
        return [*self.build(*arrays), *self.gradients(*arrays)]

    def __repr__(self):
        lines = [f"%{i} = input {x.dtype}{list(x.shape)}" for i, x in enumerate(self.inputs)]
        for number, (name, _, operands) in enumerate(self.steps, len(self.inputs)):
            known = self.known[number]
            reads = ", ".join(f"%{i}" for i in operands)
            lines.append(f"%{number} = {name}({reads})  {known.dtype}{list(known.shape)}")
        return "\n".join(lines)


class Writer:
    """Draws one recipe.

    Args:
        random: Source of all choices.
        floating: Type of its floating values.
        most_steps: Length, at most.
    """

    def __init__(self, random, floating=dtypes.float32, most_steps=9):
        self.random = random
        self.floating = floating
        self.largest = 1e3 if dtypes.as_dtype(floating).itemsize > 2 else 30.0
        self.recipe = Recipe()
        for _ in range(random.randint(1, 3)):
            self.new_input(self.shape())
        for _ in range(random.randint(1, most_steps)):
            random.choice(KINDS)(self)
        if not self.recipe.steps:
            self.unary()

    # --- pieces -----------------------------------------------------------------------------

    def shape(self, rank=None):
        rank = self.random.randint(0, 4) if rank is None else rank
        while True:
            shape = tuple(self.random.choice(SIZES) for _ in range(rank))
            if math.prod(shape) <= MOST:
                return shape
            rank = max(1, rank - 1)

    def new_input(self, shape, integers=None):
        rng = np.random.default_rng(self.random.randint(0, 2**32))
        if integers is None:
            return self.insert(rng.uniform(-2, 2, shape).astype(self.floating), 2.0)
        return self.insert(rng.integers(0, integers, shape), float(integers))

    def insert(self, array, bound):
        """Make an array the last input: numbers of values from there on move up by one."""
        self.recipe.inputs.append(array)
        number = len(self.recipe.inputs) - 1
        self.recipe.steps = [
            (name, f, [i + (i >= number) for i in operands])
            for name, f, operands in self.recipe.steps
        ]
        self.recipe.known.insert(number, Known(array.shape, array.dtype, True, bound))
        return number

    def pick(self, test=lambda known: True):
        """Number of a floating value, the later the likelier; a fresh input if none will do."""
        fits = [
            i
            for i, k in enumerate(self.recipe.known)
            if k.dtype == self.floating and k.bound < self.largest and test(k)
        ]
        if not fits:
            return None
        return fits[max(self.random.randint(0, len(fits) - 1) for _ in range(2))]

    def of(self, number):
        return self.recipe.known[number]

    def shape_of(self, number):
        return self.recipe.known[number].shape

    def add(self, name, function, operands, exact=False, bound=4.0):
        arrays = [ops.zeros(self.of(i).shape, dtype=self.of(i).dtype) for i in operands]
        result = function(*arrays)
        if math.prod(result.shape) > MOST:
            return None
        self.recipe.steps.append((name, function, list(operands)))
        exact = exact and all(self.of(i).exact for i in operands)
        self.recipe.known.append(Known(result.shape, result.dtype, exact, bound))
        return len(self.recipe.known) - 1

    # --- steps ------------------------------------------------------------------------------

    def unary(self):
        x = self.pick()
        if x is None:
            return
        name, f, bound = self.random.choice([
            ("tanh", ops.tanh, 1.0),
            ("sigmoid", ops.sigmoid, 1.0),
            ("negative", ops.negative, self.of(x).bound),
            ("square of tanh", lambda v: ops.square(ops.tanh(v)), 1.0),
            ("exp of sin", lambda v: ops.exp(ops.sin(v)), 3.0),
            ("log1p of square", lambda v: ops.log1p(ops.square(v)), 16.0),
            ("root", lambda v: ops.sqrt(ops.square(v) + 0.5), self.of(x).bound + 1),
            ("half", lambda v: v * 0.5 + 0.25, self.of(x).bound),
            ("inverse", lambda v: 1.0 / (1.5 + ops.square(v)), 1.0),
        ])  # fmt: skip
        self.add(name, f, [x], bound=bound, exact=name == "negative")

    def kinked(self):
        x = self.pick(lambda k: k.exact)
        if x is None:
            return
        name, f = self.random.choice([
            ("relu", ops.relu),
            ("abs", ops.abs),
            ("sign times", lambda v: ops.sign(v) * v),
            ("clip", lambda v: ops.clip(v, -1.0, 0.5)),
            ("floor", lambda v: v - ops.floor(v)),
            ("where", lambda v: ops.where(v > 0.3, v, v * 0.1)),
            ("cast", lambda v: v * (v < 0.1).astype(v.dtype)),
            ("integers", lambda v: ops.astype(ops.astype(v * 4.0, dtypes.int32) % 3, v.dtype)),
        ])  # fmt: skip
        self.add(name, f, [x], bound=self.of(x).bound, exact=name in ("relu", "abs", "clip"))

    def binary(self):
        x = self.pick()
        if x is None:
            return
        shape = self.shape_of(x)
        fits = [
            i
            for i, k in enumerate(self.recipe.known)
            if k.dtype == self.floating
            and k.bound < self.largest
            and len(k.shape) <= len(shape)
            and all(a in (1, b) for a, b in zip(k.shape[::-1], shape[::-1], strict=False))
        ]
        if self.random.random() < 0.4:
            rank = self.random.randint(0, len(shape))
            smaller = tuple(n if self.random.random() < 0.6 else 1 for n in shape[:rank])
            y = self.new_input(shape[len(shape) - rank :] if self.random.random() < 0.5 else (
                *smaller, *shape[rank:]))  # fmt: skip
            x += x >= y
        else:
            y = self.random.choice(fits)
        a, b = self.of(x).bound, self.of(y).bound
        name, f, bound = self.random.choice([
            ("add", ops.add, a + b),
            ("subtract", ops.subtract, a + b),
            ("multiply", ops.multiply, a * b),
            ("divide", lambda u, v: u / (ops.square(v) + 0.7), 2 * a),
            ("where", lambda u, v: ops.where(ops.tanh(v) < 2.0, u, v), a),
            ("hypot", lambda u, v: ops.sqrt(u * u + v * v + 0.3), a + b),
        ])  # fmt: skip
        self.add(name, f, [x, y], bound=bound)

    def extremum(self):
        x = self.pick(lambda k: k.exact)
        y = self.pick(lambda k: k.exact and x is not None and k.shape == self.shape_of(x))
        if x is None or y is None:
            return
        f = self.random.choice([ops.maximum, ops.minimum])
        self.add(f.__name__, f, [x, y], exact=True, bound=self.of(x).bound)

    def movement(self):
        x = self.pick()
        if x is None:
            return
        shape = self.shape_of(x)
        names = ["reshape", "transpose", "slice", "pad", "flip", "concat", "broadcast", "roll"]
        name = self.random.choice(names)
        function = getattr(self, f"_{name}")(shape)
        if function is not None:
            self.add(f"{name} {function.args}", function, [x], exact=True, bound=self.of(x).bound)

    def _reshape(self, shape):
        size = math.prod(shape)
        if not size:
            return functools.partial(lambda s, v: ops.reshape(v, s), (0, 3))
        parts = []
        while size > 1 and len(parts) < 3:
            factor = self.random.choice([n for n in range(1, size + 1) if size % n == 0][:8])
            parts.append(factor)
            size //= factor
        return functools.partial(lambda s, v: ops.reshape(v, s), (*parts, size))

    def _transpose(self, shape):
        axes = list(range(len(shape)))
        self.random.shuffle(axes)
        return functools.partial(lambda a, v: ops.permute_dims(v, a), tuple(axes))

    def _slice(self, shape):
        key = []
        for n in shape:
            start = self.random.randint(0, n)
            stop = self.random.randint(start, n)
            key.append(slice(start, stop, self.random.choice([1, 1, 2, 3])))
        return functools.partial(lambda k, v: v[k], tuple(key))

    def _pad(self, shape):
        widths = tuple((self.random.randint(0, 3), self.random.randint(0, 3)) for _ in shape)
        value = self.random.choice([0.0, 0.0, 1.5])
        return functools.partial(lambda w, c, v: ops.pad(v, w, value=c), widths, value)

    def _flip(self, shape):
        if not shape:
            return None
        axis = self.random.randint(0, len(shape) - 1)
        return functools.partial(lambda a, v: ops.flip(v, axis=a), axis)

    def _concat(self, shape):
        if not shape:
            return None
        axis = self.random.randint(0, len(shape) - 1)
        return functools.partial(lambda a, v: ops.concat([v, v * 2.0, v], axis=a), axis)

    def _broadcast(self, shape):
        front = tuple(self.random.choice([1, 2, 3]) for _ in range(self.random.randint(0, 2)))
        return functools.partial(lambda s, v: ops.broadcast_to(v, s), (*front, *shape))

    def _roll(self, shape):
        if not shape:
            return None
        axis = self.random.randint(0, len(shape) - 1)
        by = self.random.randint(-3, 3)
        return functools.partial(lambda b, a, v: ops.roll(v, b, axis=a), by, axis)

    def join(self):
        x = self.pick(lambda k: len(k.shape) > 0)
        if x is None:
            return
        shape = self.shape_of(x)
        y = self.pick(lambda k: len(k.shape) == len(shape) and k.shape[1:] == shape[1:])
        self.add("concat 0", lambda u, v: ops.concat([u, v], axis=0), [x, y], exact=True)

    def axes_of(self, shape):
        chosen = tuple(a for a in range(len(shape)) if self.random.random() < 0.5)
        return chosen or None

    def reduction(self):
        x = self.pick()
        if x is None:
            return
        shape = self.shape_of(x)
        axes, keep = self.axes_of(shape), self.random.random() < 0.5
        n = math.prod(shape[a] for a in (range(len(shape)) if axes is None else axes))
        names = ["sum", "sum", "mean", "var"] + (["max", "min"] if n and self.of(x).exact else [])
        name = self.random.choice(names if n > 0 else ["sum"])
        f = getattr(ops, name)
        exact = name in ("max", "min")
        bound = self.of(x).bound * (n if name == "sum" else 1)
        self.add(
            f"{name} {axes} {keep}",
            lambda v: f(v, axis=axes, keepdims=keep),
            [x],
            exact=exact,
            bound=bound if name != "var" else bound**2,
        )

    def position(self):
        x = self.pick(lambda k: k.exact and math.prod(k.shape) > 0)
        if x is None:
            return
        rank = len(self.shape_of(x))
        axis = self.random.choice([None, *range(rank)])
        f = self.random.choice([ops.argmax, ops.argmin])
        self.add(f"{f.__name__} {axis}", lambda v: f(v, axis=axis), [x], exact=True)

    def running(self):
        x = self.pick(lambda k: len(k.shape) > 0 and k.bound < 20)
        if x is None:
            return
        axis = self.random.randint(0, len(self.shape_of(x)) - 1)
        bound = self.of(x).bound * max(1, self.shape_of(x)[axis])
        self.add(f"cumsum {axis}", lambda v: ops.cumulative_sum(v, axis=axis), [x], bound=bound)

    def softmax(self):
        x = self.pick(lambda k: len(k.shape) > 0 and 0 not in k.shape and k.bound < 30)
        if x is None:
            return
        axis = self.random.randint(0, len(self.shape_of(x)) - 1)

        def softmax(v):
            e = ops.exp(v - ops.stop_gradient(ops.max(v, axis=axis, keepdims=True)))
            return e / ops.sum(e, axis=axis, keepdims=True)

        def normal(v):
            centred = v - ops.mean(v, axis=axis, keepdims=True)
            return centred / ops.sqrt(ops.mean(centred * centred, axis=axis, keepdims=True) + 0.1)

        def logs(v):
            return v - ops.logsumexp(v, axis=axis, keepdims=True)

        f = self.random.choice([softmax, normal, logs])
        self.add(f"{f.__name__} {axis}", f, [x], bound=8.0 + (self.of(x).bound * (f is logs)))

    def product(self):
        x = self.pick(lambda k: len(k.shape) >= 2 and k.bound < 60)
        if x is None:
            x = self.new_input(self.shape(2))
        shape = self.shape_of(x)
        columns = self.random.choice([1, 1, 2, 3, 7, 10, 16, 17, 33])
        k = shape[-1]
        bound = self.of(x).bound * 2 * max(1, k) ** 0.5
        form = self.random.choice(["xw", "xw", "xtw", "wx", "batched", "self"])
        if form == "self":
            self.add("x x'", lambda u: ops.matmul(u, ops.matrix_transpose(u)), [x], bound=bound**2)
            return
        if form == "xtw":
            w, f = (shape[-2], columns), lambda u, v: ops.matmul(ops.matrix_transpose(u), v)
        elif form == "wx":
            w, f = (columns, shape[-2]), lambda u, v: ops.matmul(v, u)
        elif form == "batched":
            w, f = (*shape[:-2], k, columns), ops.matmul
        else:
            w, f = (columns, k), lambda u, v: ops.matmul(u, ops.matrix_transpose(v))
        if math.prod(w) > MOST:
            return
        number = self.new_input(w)
        self.add(f"product {form}", f, [x + (x >= number), number], bound=bound)

    def gather(self):
        x = self.pick(lambda k: len(k.shape) > 0 and k.shape[0] > 0)
        if x is None:
            return
        shape = self.shape_of(x)
        n = self.new_input((self.random.choice([0, 1, 3, 5, 17]),), integers=shape[0])
        x += x >= n

        def scatter(v, i):
            rows = ops.take(v, i, axis=0)
            return ops.scatter_items(ops.zeros_like(v), i, rows * 0.5, mode="add")

        f = self.random.choice([lambda v, i: ops.take(v, i, axis=0), scatter])
        self.add(f"gather {f.__name__}", f, [x, n], bound=self.of(x).bound * 9, exact=f != scatter)

    def loop(self):
        x = self.pick(lambda k: len(k.shape) > 0 and k.bound < 60)
        if x is None:
            return
        shape = self.shape_of(x)
        reverse = self.random.random() < 0.5

        def recurrence(v):
            start = ops.zeros(shape[1:], dtype=v.dtype)

            def turn(carry, row):
                new = ops.tanh(carry * 0.5 + row)
                return new, new * row

            last, rows = scan(turn, start, v, reverse=reverse)
            return rows + last

        self.add(f"scan {reverse}", recurrence, [x], bound=self.of(x).bound + 1)

    def branch(self):
        x = self.pick()
        y = self.pick(lambda k: k.exact and math.prod(k.shape) > 0)
        if x is None or y is None:
            return

        def choose(v, t):
            chosen = ops.reshape(t, (-1,))[0] > 0.0
            return cond(chosen, lambda u: ops.tanh(u) + 1.0, lambda u: u * 0.5, v)

        self.add("cond", choose, [x, y], bound=self.of(x).bound + 2)


W = Writer
KINDS = [
    W.unary, W.unary, W.kinked, W.binary, W.binary, W.binary, W.extremum, W.movement, W.movement,
    W.movement, W.join, W.reduction, W.reduction, W.position, W.running, W.softmax, W.product,
    W.product, W.gather, W.loop, W.branch, *random_kinds.KINDS,
]  # fmt: skip


def graph_of(recipes, gradient):
    """One graph that computes all recipes, each on inputs of its own, and what it runs on."""
    arrays = [a for recipe in recipes for a in recipe.inputs]
    owners = []

    def everything(*values):
        left = iter(values)
        results = []
        owners.clear()
        for recipe in recipes:
            own = [next(left) for _ in recipe.inputs]
            found = recipe.both(*own) if gradient else recipe.build(*own)
            owners.extend([recipe] * len(found))
            results += found
        return results

    graph = trace(everything, [asarray(a) for a in arrays])
    captured = [x.data for x in graph.captured]
    return Graph(graph.inputs, graph.outputs), [*arrays, *captured], owners


def check(recipes, target=None, gradient=True, threads=(1, 2, 3)):
    """Compiled equals interpreted, and the same bits whatever the number of threads."""
    graph, arrays, owners = graph_of(recipes, gradient)
    with np.errstate(all="ignore"):
        expected = Plan(graph).run(arrays)
    program = NativeProgram(graph, target)
    first = None
    for n in threads:
        program.code.threads = n  # else tiny programs, such as these, would run on one
        found = program.run(arrays)
        for number, (a, b, owner) in enumerate(zip(found, expected, owners, strict=True)):
            compare(a, b, f"output {number}, {n} threads, of\n{owner}")
        if first is not None:
            for a, b, owner in zip(found, first, owners, strict=True):
                assert a.tobytes() == b.tobytes(), f"other bits on {n} threads:\n{owner}"
        first = first or [x.copy() for x in found]


def compare(found, expected, context):
    """Equal, floating values within rounding of the array's own scale."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), context
    if not dtypes.is_floating(expected.dtype):
        np.testing.assert_array_equal(found, expected, context)
        return
    assert np.array_equal(np.isfinite(found), np.isfinite(expected)), context
    finite = np.isfinite(expected)
    if not finite.any():
        return
    scale = max(1.0, float(np.abs(expected[finite]).max()))
    worst = float(np.abs(found[finite] - expected[finite]).max())
    assert worst <= TOLERANCE[str(expected.dtype)] * scale, f"differs by {worst:.3g}: {context}"
