"""What every op computes, said once more in plain NumPy: independent of the kernels."""

import itertools
import math

import numpy as np


def series_erf(x):
    """2/√π Σ (−1)ⁿ x²ⁿ⁺¹ / (n! (2n + 1)): enough terms for |x| ≤ 3."""
    x = np.asarray(x, dtype=np.float64)
    total = np.zeros_like(x)
    for n in range(80):
        total += (-1) ** n * x ** (2 * n + 1) / (math.factorial(n) * (2 * n + 1))
    return total * 2 / math.sqrt(math.pi)


def pad(x, low, high, interior):
    spread = [n + max(n - 1, 0) * gap for n, gap in zip(x.shape, interior, strict=True)]
    sizes = [a + n + b for a, n, b in zip(low, spread, high, strict=True)]
    result = np.zeros(sizes, x.dtype)
    for index in np.ndindex(*x.shape):
        place = zip(low, index, interior, strict=True)
        result[tuple(a + i * (gap + 1) for a, i, gap in place)] = x[index]
    return result


def cut(x, starts, stops, strides):
    parts = zip(starts, stops, strides, strict=True)
    return x[np.ix_(*(list(range(*part)) for part in parts))]


def running(x, axis):
    result = np.array(x)
    for i in range(1, x.shape[axis]):
        place = (slice(None),) * axis
        result[(*place, i)] = result[(*place, i - 1)] + x[(*place, i)]
    return result


def dot_general(x, y, contract, batch):
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left, right = [next(letters) for _ in x.shape], [next(letters) for _ in y.shape]
    for a, b in [*zip(*contract, strict=True), *zip(*batch, strict=True)]:
        right[b] = left[a]
    kept = [left[a] for a in batch[0]]
    kept += [c for a, c in enumerate(left) if a not in (*batch[0], *contract[0])]
    kept += [c for b, c in enumerate(right) if b not in (*batch[1], *contract[1])]
    return np.einsum(f"{''.join(left)},{''.join(right)}->{''.join(kept)}", x, y)


def padded_places(x, padding, dilation, fill=0.0):
    """Spread and pad the last axes by single assignments."""
    n_axes = len(padding)
    lead, spatial = x.shape[: x.ndim - n_axes], x.shape[x.ndim - n_axes :]
    sizes = [
        max((n - 1) * d + 1 if n else 0, 0) + lo + hi
        for n, d, (lo, hi) in zip(spatial, dilation, padding, strict=True)
    ]
    result = np.full((*lead, *sizes), fill, x.dtype)
    for index in np.ndindex(*spatial):
        place = tuple(lo + i * d for i, d, (lo, _) in zip(index, dilation, padding, strict=True))
        if all(0 <= p < n for p, n in zip(place, sizes, strict=True)):
            result[(..., *place)] = x[(..., *index)]
    return result


def window_counts(sizes, window, stride, dilation):
    return [
        max((n - (k - 1) * d - 1) // s + 1, 0)
        for n, k, s, d in zip(sizes, window, stride, dilation, strict=True)
    ]


def window_places(padded, window, stride, dilation):
    """For every window and every place in it: (window index, place index, padded index)."""
    counts = window_counts(padded, window, stride, dilation)
    for at in itertools.product(*map(range, counts)):
        for inside in itertools.product(*map(range, window)):
            yield (
                at,
                inside,
                tuple(
                    a * s + i * d for a, s, i, d in zip(at, stride, inside, dilation, strict=True)
                ),
            )


def convolution(x, w, stride, padding, input_dilation, kernel_dilation, groups):
    wide = padded_places(x, padding, input_dilation)
    counts = window_counts(wide.shape[2:], w.shape[2:], stride, kernel_dilation)
    y = np.zeros((x.shape[0], w.shape[0], *counts), x.dtype)
    per_group_out, per_group_in = w.shape[0] // groups, w.shape[1]
    for at, inside, place in window_places(wide.shape[2:], w.shape[2:], stride, kernel_dilation):
        for o in range(w.shape[0]):
            first = (o // per_group_out) * per_group_in
            for c in range(per_group_in):
                y[(slice(None), o, *at)] += (
                    wide[(slice(None), first + c, *place)] * w[(o, c, *inside)]
                )
    return y


def windows(x, window, stride, padding, dilation, fill):
    n_axes = len(window)
    wide = padded_places(x, padding, (1,) * n_axes, fill)
    spatial = wide.shape[wide.ndim - n_axes :]
    lead = wide.shape[: wide.ndim - n_axes]
    y = np.zeros((*lead, *window_counts(spatial, window, stride, dilation), *window), x.dtype)
    for at, inside, place in window_places(spatial, window, stride, dilation):
        y[(..., *at, *inside)] = wide[(..., *place)]
    return y


def fold_windows(g, spatial, window, stride, padding, dilation):
    n_axes = len(window)
    lead = g.shape[: g.ndim - 2 * n_axes]
    sizes = [n + lo + hi for n, (lo, hi) in zip(spatial, padding, strict=True)]
    total = np.zeros((*lead, *sizes), g.dtype)
    for at, inside, place in window_places(sizes, window, stride, dilation):
        total[(..., *place)] += g[(..., *at, *inside)]
    inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(spatial, padding, strict=True))
    return total[(..., *inner)]


def gather(x, indices):
    lead, depth = indices.shape[:-1], indices.shape[-1]
    y = np.zeros((*lead, *x.shape[depth:]), x.dtype)
    for at in np.ndindex(*lead):
        y[at] = x[tuple(indices[at])]
    return y


def scatter(x, indices, updates, mode):
    y = np.array(x)
    for at in np.ndindex(*indices.shape[:-1]):
        place = tuple(indices[at])
        y[place] = y[place] + updates[at] if mode == "add" else updates[at]
    return y


def argsort(x, axis, descending):
    def order(line):
        key = (lambda i: -line[i]) if descending else (lambda i: line[i])
        return np.array(sorted(range(len(line)), key=key))

    return np.apply_along_axis(order, axis, x.astype(np.float64))


def philox(counter, key):
    """Philox4x32-10 in Python's integers, from the paper's definition."""
    words, key = [int(c) for c in counter], [int(k) for k in key]
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * words[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * words[2], 2**32)
        words = [high1 ^ words[1] ^ key[0], low1, high0 ^ words[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return words


def random_bits(key, shape):
    count = math.prod(shape)
    blocks = [philox((i, 0, 0, 0), key) for i in range(-(-count // 4))]
    return np.array(blocks, dtype=np.uint32).reshape(-1)[:count].reshape(shape)


def split(key, n):
    return np.array([philox((i, 0, 0, 2), key)[:2] for i in range(n)], dtype=np.uint32)


def at_position(pick):
    def oracle(x, axis):
        return np.apply_along_axis(lambda line: list(line).index(pick(line)), axis, x)

    return oracle


ORACLES = {
    "negative": lambda x: 0 - x,
    "abs": lambda x: np.where(x < 0, 0 - x, x),
    "sign": lambda x: np.where(x > 0, 1.0, np.where(x < 0, -1.0, 0.0)).astype(x.dtype),
    "exp": np.exp,
    "expm1": lambda x: np.expm1(x),
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": lambda x: x**0.5,
    "sin": np.sin,
    "cos": np.cos,
    "tan": lambda x: np.sin(x) / np.cos(x),
    "asin": np.arcsin,
    "acos": lambda x: math.pi / 2 - np.arcsin(x),
    "atan": np.arctan,
    "sinh": lambda x: (np.exp(x) - np.exp(-x)) / 2,
    "cosh": lambda x: (np.exp(x) + np.exp(-x)) / 2,
    "asinh": lambda x: np.log(x + np.sqrt(x * x + 1)),
    "acosh": lambda x: np.log(x + np.sqrt(x * x - 1)),
    "atanh": lambda x: np.log((1 + x) / (1 - x)) / 2,
    "tanh": lambda x: 1 - 2 / (np.exp(2 * x) + 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": series_erf,
    "relu": lambda x: x * (x > 0),
    "floor": lambda x: x - np.mod(x, 1).astype(x.dtype),
    "ceil": lambda x: x + np.mod(0 - x, 1).astype(x.dtype),
    "round": np.round,
    "trunc": lambda x: np.where(x < 0, np.ceil(x), np.floor(x)),
    "bitwise_invert": lambda x: ~x,
    "isfinite": lambda x: ~(np.isnan(x) | np.isinf(x)),
    "isnan": lambda x: x != x,
    "identity": lambda x: x,
    "barrier": lambda x: x,
    "stop_gradient": lambda x: x,
    "cast": lambda x, dtype: x.astype(dtype),
    "where": lambda c, x, y: np.choose(c, [y, x]),
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "power": lambda x, y: x**y,
    "maximum": lambda x, y: np.where(x > y, x, y),
    "minimum": lambda x, y: np.where(x < y, x, y),
    "floor_divide": lambda x, y: np.floor(x / y).astype(x.dtype),
    "remainder": lambda x, y: x - np.floor(x / y).astype(x.dtype) * y,
    "atan2": np.arctan2,
    "equal": lambda x, y: x == y,
    "not_equal": lambda x, y: x != y,
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "bitwise_and": lambda x, y: x & y,
    "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y,
    "left_shift": lambda x, y: (x.astype(np.int64) * 2 ** y.astype(np.int64)).astype(x.dtype),
    "right_shift": lambda x, y: (x.astype(np.int64) // 2 ** y.astype(np.int64)).astype(x.dtype),
    "reshape": lambda x, shape: np.array(list(x.flat), x.dtype).reshape(shape),
    "transpose": lambda x, axes: np.moveaxis(x, axes, range(x.ndim)),
    "broadcast_to": lambda x, shape: x + np.zeros(shape, x.dtype),
    "slice": cut,
    "pad": pad,
    "flip": lambda x, axes: x[tuple(slice(None, None, -1 if a in axes else 1)
                                    for a in range(x.ndim))],
    "concatenate": lambda *parts, axis: np.concatenate(parts, axis=axis),
    "iota": lambda shape, axis, dtype: np.indices(shape)[axis].astype(dtype),
    "sum": lambda x, axes: np.add.reduce(x, axis=axes, dtype=x.dtype),
    "prod": lambda x, axes: np.multiply.reduce(x, axis=axes, dtype=x.dtype),
    "max": lambda x, axes: np.maximum.reduce(x, axis=axes),
    "min": lambda x, axes: np.minimum.reduce(x, axis=axes),
    "argmax": at_position(max),
    "argmin": at_position(min),
    "cumsum": running,
    "dot_general": dot_general,
    "convolution": convolution,
    "windows": windows,
    "fold_windows": fold_windows,
    "gather": gather,
    "scatter": scatter,
    "argsort": argsort,
    "random_bits": random_bits,
    "fold_in": lambda key, data: np.array(philox((data, 0, 0, 1), key)[:2], dtype=np.uint32),
    "split": split,
}  # fmt: skip
