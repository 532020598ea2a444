"""Graphs made at random: gradients against differences, batches against loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.autodiff import grad, jvp, vmap

UNARY = {
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "sin": ops.sin,
    "scaled exp": lambda x: ops.exp(ops.tanh(x)),
    "square": ops.square,
    "negative": ops.negative,
    "safe log": lambda x: ops.log(x * x + 1.5),
    "safe sqrt": lambda x: ops.sqrt(x * x + 0.5),
    "transpose": lambda x: x.T if x.ndim == 2 else x,
    "flatten": lambda x: x.reshape(-1),
    "rows": lambda x: x[::-1] if x.ndim else x,
    "part": lambda x: x[1:] if x.ndim and x.shape[0] > 1 else x,
    "sum": lambda x: ops.sum(x, axis=0) if x.ndim else x,
    "mean kept": lambda x: x - ops.mean(x, axis=-1, keepdims=True) if x.ndim else x,
    "cumulative": lambda x: ops.cumulative_sum(x, axis=0) if x.ndim else x,
    "doubled": lambda x: ops.concat([x, x * 0.5], axis=0) if x.ndim else ops.stack([x, x]),
    "padded": lambda x: ops.pad(x, 1) if x.ndim else x,
    "gram": lambda x: x @ x.T * 0.1 if x.ndim == 2 else x * 0.1,
}
BINARY = {
    "add": ops.add,
    "subtract": ops.subtract,
    "multiply": ops.multiply,
    "safe divide": lambda x, y: x / (y * y + 1.0),
    "where": lambda x, y: ops.where(x * x > 100.0, x, y),
    "logaddexp": ops.logaddexp,
}


@st.composite
def programs(draw):
    """A list of steps: an op and which earlier values it takes."""
    steps = []
    for number in range(draw(st.integers(2, 12))):
        place = st.integers(0, number + 1)
        if draw(st.booleans()):
            steps.append((draw(st.sampled_from(sorted(UNARY))), (draw(place),)))
        else:
            steps.append((draw(st.sampled_from(sorted(BINARY))), (draw(place), draw(place))))
    return steps


def run(steps, x, y):
    """Run a program; operands whose shapes do not broadcast are summed to scalars first."""
    values = [x, y]
    for name, places in steps:
        operands = [values[i] for i in places]
        if name in UNARY:
            result = UNARY[name](operands[0])
        else:
            result = BINARY[name](*(fit(v, operands[0].shape) for v in operands))
        values.append(ops.tanh(result) if result.size > 200 else result)
    # the last value alone would forget most of the others
    return sum((ops.sum(ops.sin(v)) for v in values[-3:]), start=asarray(0.0, dtype="float64"))


def fit(x, shape):
    try:
        np.broadcast_shapes(x.shape, shape)
    except ValueError:
        return ops.mean(x)
    return x


def samples(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 2)), rng.normal(size=(2,))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 10**6))
def test_gradients_agree_with_differences(steps, seed):
    x, y = samples(seed)
    rng = np.random.default_rng(seed + 1)
    d_x, d_y = rng.normal(size=x.shape), rng.normal(size=y.shape)
    graph = trace(lambda x, y: run(steps, x, y), [asarray(x), asarray(y)])
    g_x, g_y = grad(lambda x, y: run(steps, x, y), argnums=(0, 1))(asarray(x), asarray(y))
    along = float((g_x.numpy() * d_x).sum() + (g_y.numpy() * d_y).sum())
    h = 1e-4
    f = [float(graph.evaluate([x + k * h * d_x, y + k * h * d_y])[0]) for k in (-2, -1, 1, 2)]
    numeric = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
    assert abs(along - numeric) <= 1e-6 * max(1.0, abs(along), abs(numeric))
    _, forward = jvp(
        lambda x, y: run(steps, x, y), (asarray(x), asarray(y)), (asarray(d_x), asarray(d_y))
    )
    assert abs(float(forward) - along) <= 1e-9 * max(1.0, abs(along))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 10**6))
def test_batches_equal_loops(steps, seed):
    members = [samples(seed + i) for i in range(3)]
    xs, y = np.stack([x for x, _ in members]), members[0][1]
    function = grad(lambda x, y: run(steps, x, y), argnums=(0, 1))
    together = vmap(function, in_axes=(0, None))(asarray(xs), asarray(y))
    for number, x in enumerate(xs):
        alone = function(asarray(x), asarray(y))
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a.numpy()[number], b.numpy(), rtol=1e-9, atol=1e-11)
