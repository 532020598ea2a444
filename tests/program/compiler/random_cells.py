"""Random recurrent networks: cells that are drawn, run over sequences in the ways of recurrent
layers – stacked, reversed, joined, over looked-up tokens, with lengths – and their gradients."""

import numpy as np

import chainrule as cr
from chainrule import ops
from chainrule.autodiff import checkpoint, value_and_grad
from chainrule.control import scan
from chainrule.nn.recurrent_lengths import leading_rows
from chainrule.program import compile

BATCHES = [1, 2, 3, 5, 8, 16, 17, 24]
STEPS = [0, 1, 2, 3, 5, 9]
WIDTHS = [1, 3, 4, 8, 12, 16, 24, 33]
TOKENS = 7


class Cell:
    """A step: steps of arithmetic on rows of features, drawn one after the other.

    Args:
        random: Source of all choices.
        inputs: Features of what is read at each step.
        weights: Where new weights are put, by name.
        dtype: Of the weights.
    """

    def __init__(self, random, inputs, weights, dtype):
        self.random, self.weights, self.dtype = random, weights, dtype
        self.inputs = inputs
        self.carries = [random.choice(WIDTHS) for _ in range(random.randint(1, 3))]
        self.widths = [inputs, *self.carries]
        self.steps = []
        self.leaves_out = True  # rows of sequences that are over need not be computed
        for _ in range(random.randint(2, 8)):
            random.choice([self.linear] * 3 + [self.unary, self.gate, self.part] + [self.joined,
                self.normal, self.memory, self.over_the_batch, self.constant])()  # fmt: skip
        self.next = [self.of_width(width) for width in self.carries]
        self.output = random.randrange(1, len(self.widths))
        self.hands_on = random.random() < 0.2  # a carry that is left as it is

    def weight(self, *shape):
        """The name of a weight of this shape: at times one that is there."""
        alike = [name for name, w in self.weights.items() if w.shape == shape]
        if alike and self.random.random() < 0.3:
            return self.random.choice(alike)
        rng = np.random.default_rng(self.random.randint(0, 2**32))
        name = f"w{len(self.weights)}"
        scale = 0.7 / np.sqrt(max(1, shape[0]))
        self.weights[name] = (rng.normal(size=shape) * scale).astype(self.dtype)
        return name

    def add(self, width, function):
        self.steps.append(function)
        self.widths.append(width)
        return len(self.widths) - 1

    def pick(self):
        """A register, the later the likelier."""
        n = len(self.widths) - 1
        return max(self.random.randint(0, n), self.random.randint(0, n))

    # --- arithmetic -------------------------------------------------------------------------

    def linear(self):
        x, width = self.pick(), self.random.choice(WIDTHS)
        turned = self.random.random() < 0.4
        inner = self.widths[x]
        w = self.weight(width, inner) if turned else self.weight(inner, width)
        b = self.weight(width) if self.random.random() < 0.5 else None

        def product(r, p):
            y = r[x] @ (ops.matrix_transpose(p[w]) if turned else p[w])
            return y if b is None else y + p[b]

        return self.add(width, product)

    def of_width(self, width):
        """A register of this width: one that is there, or a bounded product."""
        fits = [i for i, n in enumerate(self.widths) if n == width and i > len(self.carries)]
        if fits and self.random.random() < 0.6:
            x = self.random.choice(fits)
        else:
            y = self.pick()
            w = self.weight(self.widths[y], width)
            x = self.add(width, lambda r, p: r[y] @ p[w])
        return self.add(width, lambda r, p: ops.tanh(r[x]))

    def unary(self):
        x = self.pick()
        f = self.random.choice([ops.tanh, ops.sigmoid, ops.sin, lambda v: 1.0 - v])
        self.add(self.widths[x], lambda r, p: f(r[x]))

    def gate(self):
        x = self.pick()
        alike = [i for i, n in enumerate(self.widths) if n in (1, self.widths[x])]
        y = self.random.choice(alike)
        f = self.random.choice([
            ops.add, ops.subtract, lambda u, v: ops.sigmoid(u) * v, lambda u, v: ops.tanh(u) * v,
            lambda u, v: ops.where(ops.tanh(v) < 2.0, u, v),
        ])  # fmt: skip
        self.add(self.widths[x], lambda r, p: f(r[x], r[y]))

    def part(self):
        """A block of features, as gates are cut out of one product."""
        x = self.pick()
        start = self.random.randrange(self.widths[x])
        stop = self.random.randint(start + 1, self.widths[x])
        self.add(stop - start, lambda r, p: r[x][:, start:stop])

    def joined(self):
        x, y = self.pick(), self.pick()
        if self.widths[x] + self.widths[y] <= 48:
            width = self.widths[x] + self.widths[y]
            self.add(width, lambda r, p: ops.concat([r[x], r[y]], axis=1))

    def normal(self):
        x = self.pick()
        self.leaves_out = False  # by quotients

        def softmax(v):
            e = ops.exp(ops.tanh(v))
            return e / ops.sum(e, axis=1, keepdims=True)

        def centred(v):
            v = v - ops.mean(v, axis=1, keepdims=True)
            return v / ops.sqrt(ops.mean(v * v, axis=1, keepdims=True) + 0.2)

        f = self.random.choice([softmax, centred])
        self.add(self.widths[x], lambda r, p: f(r[x]))

    def memory(self):
        """Attention over rows that are the same at every step."""
        x = self.pick()
        self.leaves_out = False
        m = self.weight(5, self.widths[x])

        def look(r, p):
            e = ops.exp(ops.tanh(r[x] @ ops.matrix_transpose(p[m])))
            return (e / ops.sum(e, axis=1, keepdims=True)) @ p[m]

        self.add(self.widths[x], look)

    def over_the_batch(self):
        x = self.pick()
        self.leaves_out = False
        self.add(self.widths[x], lambda r, p: r[x] - 0.5 * ops.mean(r[x], axis=0, keepdims=True))

    def constant(self):
        x = self.pick()
        w = self.weight(self.widths[x])
        self.add(self.widths[x], lambda r, p: r[x] * p[w] + p[w])

    # --- running ----------------------------------------------------------------------------

    def __call__(self, carries, x, weights):
        registers = [x, *carries]
        for step in self.steps:
            registers.append(step(registers, weights))
        after = [registers[i] for i in self.next]
        if self.hands_on and len(after) > 1:
            after[0] = carries[-1] if carries[-1].shape == after[0].shape else after[0]
        return after, registers[self.output]


class Network:
    """Layers of such cells over a batch of sequences, and a loss."""

    def __init__(self, random, dtype=np.float32):
        self.dtype = dtype
        self.weights = {}
        self.batch, self.steps = random.choice(BATCHES), random.choice(STEPS)
        self.looked_up = random.random() < 0.4
        self.batch_first = random.random() < 0.4
        self.lengths = random.random() < 0.4
        self.layers = []
        width = random.choice(WIDTHS)
        rng = np.random.default_rng(random.randint(0, 2**32))
        shape = (self.batch, self.steps) if self.batch_first else (self.steps, self.batch)
        if self.looked_up:
            self.weights["table"] = rng.normal(size=(TOKENS, width)).astype(dtype)
            self.input = rng.integers(0, TOKENS, shape)
        else:
            self.input = rng.normal(size=(*shape, width)).astype(dtype)
        self.counts = rng.integers(0, self.steps + 1, self.batch)
        for _ in range(random.randint(1, 2)):
            cells = [Cell(random, width, self.weights, dtype)]
            if random.random() < 0.4:
                cells.append(Cell(random, width, self.weights, dtype))
            forms = [random.choice(["plain", "plain", "hoisted", "checkpoint"]) for _ in cells]
            starts = [random.choice(["zeros", "learned"]) for _ in cells]
            for cell, start in zip(cells, starts, strict=True):
                cell.starts = [
                    cell.weight(size) if start == "learned" else None for size in cell.carries
                ]
            self.layers.append((cells, forms))
            width = sum(cell.widths[cell.output] for cell in cells)
        self.ends = random.choice(["all", "last", "states"])

    def run(self, x, counts, p):
        if self.looked_up:
            x = ops.take(p["table"], x, axis=0)
        if self.batch_first:
            x = ops.moveaxis(x, 0, 1)
        states = []
        for cells, forms in self.layers:
            found = []
            for number, (cell, form) in enumerate(zip(cells, forms, strict=True)):
                end, y = self._one_way(cell, form, x, counts, p, number == 1)
                found.append(y)
                states += end
            x = found[0] if len(found) == 1 else ops.concat(found, axis=-1)
        return x, states

    def _one_way(self, cell, form, x, counts, p, reverse):
        batch, steps = self.batch, self.steps
        start = [
            ops.zeros((batch, n), dtype=x.dtype)
            if name is None
            else ops.broadcast_to(p[name], (batch, n))
            for name, n in zip(cell.starts, cell.carries, strict=True)
        ]
        body = (lambda c, x: checkpoint(cell)(c, x, p)) if form == "checkpoint" else (
            lambda c, x: cell(c, x, p))  # fmt: skip
        if not self.lengths:
            if form == "hoisted":
                x = x * 0.5 + 1.0
            end, y = scan(body, start, x, reverse=reverse)
            return list(end), y
        order = ops.argsort(counts, descending=True)
        places = ops.argsort(order)
        times = ops.arange(steps).reshape((steps, 1, 1))
        valid = times < counts[order].reshape((1, batch, 1))
        active = ops.sum(ops.astype(valid, "int64"), axis=(1, 2))
        promised = cell.leaves_out

        def masked(carries, slices):
            x, valid, n = slices
            if promised:
                carries = [leading_rows(c, n) for c in carries]
            after, y = body(carries, x)
            return [ops.where(valid, a, c) for a, c in zip(after, carries, strict=True)], y

        ordered = (ops.take(x, order, axis=1), valid, active)
        end, y = scan(masked, start, ordered, reverse=reverse)
        y = ops.take(ops.where(valid, y, 0.0), places, axis=1)
        return [ops.take(e, places, axis=0) for e in end], y

    def loss(self, p, x, counts):
        y, states = self.run(x, counts, p)
        total = sum(ops.sum(s * s) for s in states) if self.ends != "all" else 0.0
        if self.ends != "states":
            y = y if self.ends == "all" else y[-1:]
            total = total + ops.sum(ops.sin(y) * 0.5)
        return total

    def gradients(self, engine):
        """Loss, outputs and the gradients of all weights, by an engine."""

        def function(p, x, counts):
            loss, found = value_and_grad(lambda p: self.loss(p, x, counts))(p)
            return loss, self.run(x, counts, p), found

        made = compile(function, engine=engine)
        return cr.tree.flatten(made(self.weights, self.input, self.counts))[0]


def check(network):
    """Both engines agree.

    Raises:
        AssertionError: They do not.
    """
    tolerance = 1e-10 if network.dtype == np.float64 else 1e-4
    pairs = zip(network.gradients("interpreter"), network.gradients("compiler"), strict=True)
    for a, b in pairs:
        a, b = np.asarray(a.value), np.asarray(b.value)
        scale = max(1.0, float(np.abs(a).max(initial=0.0)))
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * scale, err_msg=a.shape)
