"""Steps of random graphs beside floating arithmetic: integers, masks, sorting, windows, loops.

Each takes a ``random_graphs.Writer`` and adds a step to its recipe, or none if nothing fits.
"""

import math

import numpy as np

from chainrule import ops
from chainrule import random as draws
from chainrule.control import cond, fori_loop, scan, while_loop
from chainrule.errors import ShapeError
from chainrule.ops import dtypes

INTEGERS = [
    dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64,
    dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64,
]  # fmt: skip


# --- integers and masks ---------------------------------------------------------------------------


def some_integers(writer, shape, dtype):
    """A new input: small numbers, numbers from the whole range, its ends, 0 and -1."""
    rng = np.random.default_rng(writer.random.randint(0, 2**32))
    limits = np.iinfo(dtype)
    if writer.random.random() < 0.5:
        array = rng.integers(max(-4, limits.min), 5, shape, dtype=dtype)
    else:
        array = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    ends = np.array([limits.min, limits.max, 0, limits.min + 1], dtype)
    array = np.where(rng.random(shape) < 0.2, rng.choice(ends, shape), array).astype(dtype)
    return writer.insert(array, float(limits.max))


def pick_integers(writer, test=lambda known: True):
    """An integer value that is there, or a new one."""
    known = writer.recipe.known
    fits = [i for i, k in enumerate(known) if dtypes.is_integer(k.dtype) and k.exact and test(k)]
    if fits and writer.random.random() < 0.8:
        return writer.random.choice(fits)
    x = some_integers(writer, writer.shape(), writer.random.choice(INTEGERS))
    return x if test(writer.of(x)) else None


def pick_mask(writer, x):
    """``x``, which may have moved, and a mask of its shape: one that is there, or a new one."""
    shape, known = writer.shape_of(x), writer.recipe.known
    fits = [
        i for i, k in enumerate(known) if k.dtype == dtypes.bool_ and k.shape == shape and k.exact
    ]
    if fits:
        return x, writer.random.choice(fits)
    rng = np.random.default_rng(writer.random.randint(0, 2**32))
    m = writer.insert(rng.random(shape) < 0.5, 1.0)
    return x + (x >= m), m


def partner(writer, x):
    """``x``, which may have moved, and another value of its type that broadcasts with it."""
    shape, dtype = writer.shape_of(x), writer.of(x).dtype
    known = writer.recipe.known
    fits = [i for i, k in enumerate(known) if k.dtype == dtype and k.exact and k.shape == shape]
    if writer.random.random() < 0.5 and fits:
        return x, writer.random.choice(fits)
    cut = writer.random.randint(0, len(shape))
    small = tuple(n if writer.random.random() < 0.7 else 1 for n in shape[cut:])
    y = some_integers(writer, small, dtype)
    return x + (x >= y), y


def integer_arithmetic(writer):
    x = pick_integers(writer)
    x, y = partner(writer, x)
    name, f = writer.random.choice([
        ("add", ops.add),
        ("subtract", ops.subtract),
        ("multiply", ops.multiply),
        ("floor_divide", ops.floor_divide),
        ("remainder", ops.remainder),
        ("and", ops.bitwise_and),
        ("or", ops.bitwise_or),
        ("xor", ops.bitwise_xor),
        ("left shift", ops.bitwise_left_shift),
        ("right shift", ops.bitwise_right_shift),
        ("maximum", ops.maximum),
        ("minimum", ops.minimum),
        ("less", ops.less),
        ("equal", ops.equal),
        ("greater_equal", ops.greater_equal),
        ("where", lambda u, v: ops.where(u > v, u, v * 2)),
    ])  # fmt: skip
    writer.add(f"integer {name}", f, [x, y], exact=True)


def integer_unary(writer):
    x = pick_integers(writer)
    to = writer.random.choice(INTEGERS)
    name, f = writer.random.choice([
        ("negative", ops.negative),
        ("abs", ops.abs),
        ("sign", ops.sign),
        ("square", ops.square),
        ("invert", ops.bitwise_invert),
        ("clip", lambda v: ops.clip(v, 1, 3)),
        ("truth", lambda v: v.astype(dtypes.bool_)),
        (f"to {to}", lambda v: ops.astype(v, to)),
    ])  # fmt: skip
    writer.add(f"integer {name}", f, [x], exact=True)


def integer_reduction(writer):
    x = pick_integers(writer)
    shape = writer.shape_of(x)
    axes = writer.axes_of(shape)
    names = ["sum", "prod", "any", "all"] + (["max", "min"] if math.prod(shape) else [])
    f = getattr(ops, writer.random.choice(names))
    writer.add(f"integer {f.__name__} {axes}", lambda v: f(v, axis=axes), [x], exact=True)


def to_floating(writer):
    """Integers between -8 and 7 as floating values, exact in every type."""
    x = pick_integers(writer)
    floating = writer.floating

    def few(v):
        return ops.astype(ops.astype(v % 8, dtypes.int8) - 3, floating)

    writer.add("to floating", few, [x], exact=True, bound=8.0)


def compare(writer):
    x = writer.pick(lambda k: k.exact)
    if x is None:
        return
    name, f = writer.random.choice([
        ("greater", lambda v: v > 0.3),
        ("less", lambda v: v < v[::-1] if v.shape else v < 0.1),
        ("finite", ops.isfinite),
        ("not equal", lambda v: ops.logical_not(v == 1.0)),
        ("within", lambda v: ops.logical_and(v > -0.5, v <= 0.5)),
        ("signbit", ops.signbit),
    ])  # fmt: skip
    writer.add(f"compare {name}", f, [x], exact=True)


def mask(writer):
    """Masks with masks, and floating values chosen by them."""
    x = writer.pick()
    if x is None:
        return
    x, m = pick_mask(writer, x)
    bound = writer.of(x).bound
    name, f, exact = writer.random.choice([
        ("where", lambda v, m: ops.where(m, v, -v), True),
        ("times", lambda v, m: v * m.astype(v.dtype), True),
        ("xor", lambda v, m: ops.logical_xor(m, ops.flip(m)), True),
        ("count", lambda v, m: ops.sum(m.astype(dtypes.int32)), True),
        ("mean", lambda v, m: ops.sum(ops.where(m, v, 0.0)) / (1 + ops.sum(m)), False),
    ])  # fmt: skip
    writer.add(f"mask {name}", f, [x, m], exact=exact, bound=bound * (9 if name == "mean" else 1))


# --- order ----------------------------------------------------------------------------------------


def order(writer):
    """Sorting, positions, largest: of floating values or integers."""
    integers = writer.random.random() < 0.4
    fits = lambda k: k.exact and len(k.shape) > 0  # noqa: E731
    x = pick_integers(writer, fits) if integers else writer.pick(fits)
    if x is None:
        return
    shape = writer.shape_of(x)
    axis = writer.random.randint(0, len(shape) - 1)
    down = writer.random.random() < 0.5
    k = writer.random.randint(0, shape[axis])
    name, f = writer.random.choice([
        ("sort", lambda v: ops.sort(v, axis=axis, descending=down)),
        ("argsort", lambda v: ops.argsort(v, axis=axis, descending=down)),
        ("top", lambda v: ops.top_k(v, k, axis=axis)[0]),
        ("places of top", lambda v: ops.top_k(v, k, axis=axis)[1]),
    ])  # fmt: skip
    writer.add(f"{name} {axis} {down} {k}", f, [x], exact=True, bound=writer.of(x).bound)


def along(writer):
    """Elements picked along an axis, or written by rows and places."""
    x = writer.pick(lambda k: len(k.shape) > 0 and math.prod(k.shape) > 0 and k.bound < 30)
    if x is None:
        return
    shape = writer.shape_of(x)
    axis = writer.random.randint(0, len(shape) - 1)
    wanted = (*shape[:axis], writer.random.choice([1, 2, 5]), *shape[axis + 1 :])
    n = writer.new_input(wanted, integers=shape[axis])
    x += x >= n

    def pick(v, i):
        return ops.take_along_axis(v, i, axis=axis)

    def put(v, i):
        """The last writer of a place wins, also in the derivative."""
        rows = ops.moveaxis(i, axis, 0)
        rows = ops.reshape(rows, (-1,)) % shape[0]
        values = ops.take(v, rows, axis=0) * 0.5
        return ops.scatter_items(v, rows, values, mode="set")

    name, f = writer.random.choice([("pick", pick), ("put", put)])
    exact = name == "pick"
    writer.add(f"{name} along {axis}", f, [x, n], exact=exact, bound=writer.of(x).bound)


# --- windows --------------------------------------------------------------------------------------


def _factors(writer, size, count):
    """``size`` as a product of ``count`` numbers."""
    parts = []
    for _ in range(count - 1):
        divisors = [n for n in range(1, min(size, 9) + 1) if size % n == 0]
        parts.append(writer.random.choice(divisors))
        size //= parts[-1]
    writer.random.shuffle(parts)
    return (*parts, size)


def convolution(writer):
    x = writer.pick(lambda k: 0 < math.prod(k.shape) <= 1500 and k.bound < 30)
    if x is None:
        return
    rank = writer.random.choice([1, 2, 2, 2, 3])
    chance = writer.random.choice
    shape = _factors(writer, math.prod(writer.shape_of(x)), rank + 2)
    groups = chance([g for g in range(1, shape[1] + 1) if shape[1] % g == 0])
    kernel = tuple(chance([1, 2, 3, 3, 5]) for _ in range(rank))
    out = groups * chance([1, 1, 2, 3, 8])
    settings = {
        "stride": tuple(chance([1, 1, 2, 3]) for _ in range(rank)),
        "dilation": tuple(chance([1, 1, 1, 2]) for _ in range(rank)),
        "input_dilation": tuple(chance([1, 1, 1, 2]) for _ in range(rank)),
        "padding": tuple((chance([0, 1, 2]), chance([0, 1, 2])) for _ in range(rank)),
        "groups": groups,
    }
    w = writer.new_input((out, shape[1] // groups, *kernel))
    x += x >= w
    bound = writer.of(x).bound * 2 * (math.prod(kernel) * shape[1] / groups) ** 0.5

    def convolve(v, w):
        return ops.convolution(ops.reshape(v, shape), w, **settings)

    try:
        writer.add(f"convolution {shape} {kernel} {settings}", convolve, [x, w], bound=bound)
    except ShapeError:  # the window is larger than its input
        return


def windows(writer):
    x = writer.pick(lambda k: len(k.shape) > 0 and math.prod(k.shape) > 0 and k.bound < 60)
    if x is None:
        return
    shape, known = writer.shape_of(x), writer.of(x)
    rank = writer.random.randint(1, min(2, len(shape)))
    chance = writer.random.choice
    size = tuple(chance([1, 2, 2, 3]) for _ in range(rank))
    settings = {
        "stride": chance([None, *(tuple(chance([1, 2, 3]) for _ in range(rank)) for _ in "ab")]),
        "padding": tuple((chance([0, 0, 1]), chance([0, 0, 1])) for _ in range(rank)),
    }
    exact = known.exact
    names = ["average_pool", "windows"] + (["max_pool", "max_pool"] if exact else [])
    name = chance(names)
    dilation = chance([1, 1, 2])

    def pool(v):
        if name == "windows":
            return ops.sliding_windows(v, size, dilation=dilation, fill=0.5, **settings)
        # a window that sees nothing but padding has no largest element
        return getattr(ops, name)(v, size, stride=settings["stride"])

    bound = max(known.bound, 0.5)
    try:
        writer.add(
            f"{name} {size} {settings}", pool, [x], exact=name != "average_pool", bound=bound
        )
    except ShapeError:
        return


# --- control flow and randomness ------------------------------------------------------------------


def repeated(writer):
    """``while_loop`` with a number of turns that depends on the data; it has no derivative."""
    n = pick_integers(writer, lambda k: math.prod(k.shape) > 0)
    x = writer.pick(lambda k: k.bound < 60)  # the second: a new input moves those behind it
    if x is None or n is None:
        return

    def several(v, n):
        turns = ops.astype(ops.reshape(n, (-1,))[0] % 5, dtypes.int32)
        start = turns * 0, v

        def turn(state):
            return state[0] + 1, ops.tanh(state[1]) + 0.25

        return ops.stop_gradient(while_loop(lambda state: state[0] < turns, turn, start)[1])

    writer.add("while", several, [x, n], bound=writer.of(x).bound + 2)


def counted(writer):
    """A loop with a choice in each turn; the carry holds several values."""
    x = writer.pick(lambda k: k.bound < 60)
    if x is None:
        return
    turns = writer.random.choice([0, 1, 3, 4])

    def body(i, state):
        total, last = state
        new = cond(i % 2 == 0, lambda v: ops.tanh(v) * 0.5, lambda v: v + 0.125, last)
        return total + new, new

    def loop(v):
        return fori_loop(0, turns, body, (v, v * 0.5))[0]

    writer.add(f"for {turns}", loop, [x], bound=writer.of(x).bound * 3 + 2)


def integer_scan(writer):
    """Integers carried with floating rows; the sums of earlier rows come out."""
    x = pick_integers(writer, lambda k: len(k.shape) > 0)
    if x is None:
        return
    reverse = writer.random.random() < 0.5

    def sums(v):
        start = ops.zeros(v.shape[1:], dtype=v.dtype)
        return scan(lambda c, row: (c + row, c ^ row), start, v, reverse=reverse)[1]

    writer.add(f"integer scan {reverse}", sums, [x], exact=True)


def noise(writer):
    """Random bits are the same in both engines: masks drawn from a key."""
    x = writer.pick()
    if x is None:
        return
    seed = writer.random.randint(0, 2**31)

    def drop(v):
        keep = draws.bernoulli(draws.key(seed), 0.6, v.shape)
        return ops.where(keep, v / 0.6, 0.0)

    writer.add(f"dropout {seed}", drop, [x], bound=writer.of(x).bound * 2)


KINDS = [
    integer_arithmetic, integer_arithmetic, integer_unary, integer_reduction, to_floating, compare,
    mask, mask, order, along, convolution, windows, repeated, counted, integer_scan, noise,
]  # fmt: skip
