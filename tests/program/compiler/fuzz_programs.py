"""What ``test_fuzz`` runs in processes of its own, where a crash would end them.

Each function takes a seed, raises if results are wrong, and must not end the process.
"""

import random
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import ops
from chainrule.array import asarray
from chainrule.errors import IndexRangeError
from chainrule.nn import functional
from chainrule.ops import dtypes
from chainrule.program import run_steps

INTEGERS = [
    dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64,
    dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64,
]  # fmt: skip
ARITHMETIC = {
    "floor_divide": ops.floor_divide,
    "remainder": ops.remainder,
    "left_shift": ops.bitwise_left_shift,
    "right_shift": ops.bitwise_right_shift,
    "multiply": ops.multiply,
    "subtract": ops.subtract,
    "pow": lambda a, b: ops.pow(a, b % 70),
    "negative": lambda a, b: ops.negative(a) + 0 * b,
    "abs": lambda a, b: ops.abs(a) + 0 * b,
}


def engines(function, *arrays):
    """Results of both engines, or the names of their errors."""
    found = []
    for engine in ("compiler", "interpreter"):
        compiled = cr.compile(function, engine=engine)
        try:
            with np.errstate(all="ignore"):
                found.append(compiled(*map(asarray, arrays)).numpy())
        except IndexRangeError:
            found.append("IndexRangeError")
    return found


def check_equal(function, *arrays, context=""):
    native, reference = engines(function, *arrays)
    if isinstance(native, str) or isinstance(reference, str):
        assert native is reference, f"{native} and {reference}: {context}"
        return
    np.testing.assert_array_equal(native, reference, context, strict=True)


def extremes(rng, dtype, size):
    """Integers, most of them 0, ±1, the ends of the type, or as large as its bits."""
    limits = np.iinfo(dtype)
    bits = limits.bits
    special = [limits.min, limits.min + 1, limits.max, 0, 0, 1, 2, 3, 7, bits - 1, bits, bits + 1]
    if limits.min:
        special += [-1, -1, -2, -bits, -7]
    array = rng.choice(np.array(special, dtype), size)
    anything = rng.integers(limits.min, limits.max, size, dtype=dtype, endpoint=True)
    return np.where(rng.random(size) < 0.3, anything, array).astype(dtype)


def integer_arithmetic(seed):
    """Division and shifts by anything: the values that NumPy's rules and the interpreter give."""
    rng = np.random.default_rng(seed)
    for dtype in INTEGERS:
        size = int(rng.choice([1, 3, 8, 33, 100]))
        a = extremes(rng, dtype, size)
        b = extremes(rng, dtype, size if rng.random() < 0.6 else 1)
        constant = extremes(rng, dtype, 1)[0]

        def everything(x, y):
            rows = [f(x, y) for f in ARITHMETIC.values()]
            rows += [f(x, asarray(constant)) for f in ARITHMETIC.values()]  # noqa: B023
            rows += [f(asarray(constant), y) + 0 * x for f in ARITHMETIC.values()]  # noqa: B023
            return ops.stack(rows)

        check_equal(everything, a, b, context=f"{dtype}, constant {constant}")


def casts(seed):
    """Numbers that no integer holds: saturated, in both engines; NaN becomes 0."""
    rng = np.random.default_rng(seed)
    for source in (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64):
        special = [
            np.nan,
            np.inf,
            -np.inf,
            -0.5,
            127.9,
            128.0,
            -129.0,
            3e9,
            -3e9,
            1e19,
            -1e19,
            2e38,
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # float16 does not reach so far
            x = rng.choice(special, 37).astype(source)
        for target in INTEGERS:
            check_equal(lambda v: ops.astype(v, target), x, context=f"{source} to {target}")  # noqa: B023


def bad_indices(rng, size, n):
    """Indices of which some are far outside of an axis of n."""
    ends = np.iinfo(np.int64)
    special = [ends.min, ends.min + 1, ends.max, -1, -n, -n - 1, n, n + 1, 2**31, 2**32, -(2**32)]
    array = rng.integers(0, n, size)
    bad = rng.random(size) < rng.choice([0.0, 0.02, 0.5])
    return np.where(bad, rng.choice(np.array(special), size), array)


def indices(seed):
    """Gather, scatter and labels: an IndexRangeError, or the interpreter's values."""
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(1, 50)), int(rng.choice([1, 4, 17]))
    x = rng.normal(size=(n, width)).astype(np.float32)
    for size in (1, 5, 64, 700):
        i = bad_indices(rng, size, n)
        j = bad_indices(rng, size, width)
        updates = rng.normal(size=(size, width)).astype(np.float32)
        logits = rng.normal(size=(size, width)).astype(np.float32)
        cases = {
            "take": (lambda x, i: ops.take(x, i, axis=0), x, i),
            "pairs": (lambda x, i, j: x[i, j], x, i, j),
            "add": (lambda x, i, u: ops.scatter_items(x, i, u, mode="add"), x, i, updates),
            "set": (lambda x, i, u: ops.scatter_items(x, i, u, mode="set"), x, i, updates),
            "gradient": (
                lambda x, i: cr.grad(lambda v: ops.sum(ops.square(ops.take(v, i, axis=0))))(x),
                x,
                i,
            ),
            "along": (
                lambda z, j: ops.take_along_axis(z, ops.reshape(j, (-1, 1)), axis=1),
                logits,
                j,
            ),
        }
        for name, (function, *arrays) in cases.items():
            native, reference = engines(function, *arrays)
            if isinstance(native, str) or isinstance(reference, str):
                assert native is reference, f"{name}: {native}, {reference}"
            else:
                np.testing.assert_allclose(native, reference, 1e-5, 1e-4, err_msg=name)
        native, reference = engines(functional.cross_entropy, logits, j)
        assert isinstance(native, str) == isinstance(reference, str), "labels"
        if not isinstance(native, str):
            np.testing.assert_allclose(native, reference, 1e-5, err_msg="labels")


def orders(seed):
    """Sample numbers, of any type, that do not exist are refused; others give the same."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(23, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 23)
    for dtype in (np.int64, np.int32, np.uint64, np.uint8, np.int8):
        order = bad_indices(rng, (4, 7), 23)
        if dtype != np.int64:
            order = order.astype(dtype)
        found = []
        for engine in ("compiler", "interpreter"):
            state = {"w": asarray(np.zeros((5, 5), np.float32))}

            def step(state, rows, labels):
                loss, g = cr.value_and_grad(lambda w: functional.cross_entropy(rows @ w, labels))(
                    state["w"]
                )
                state["w"] = state["w"] - 0.1 * g
                return loss

            try:
                found.append(run_steps(step, [state], [x, labels], order, engine=engine))
            except IndexRangeError:
                found.append("IndexRangeError")
        inside = order.min() >= 0 and order.max() < 23
        if inside:
            np.testing.assert_allclose(*found, rtol=1e-5)
        else:
            assert found == ["IndexRangeError"] * 2, (order, found)
    harm_labels(rng, x)


def harm_labels(rng, x):
    """A bad label is found before the step writes anything."""
    labels = bad_indices(rng, 23, 5)
    state = {"w": asarray(np.zeros((5, 5), np.float32))}

    def step(state, rows, labels):
        loss, g = cr.value_and_grad(lambda w: functional.cross_entropy(rows @ w, labels))(
            state["w"]
        )
        state["w"] = state["w"] - 0.1 * g
        return loss

    order = np.arange(20).reshape(5, 4)
    used = labels[:20].reshape(5, 4)
    good = int(np.argmax(~((used >= 0) & (used < 5)).all(axis=1)))
    try:
        run_steps(step, [state], [x, labels], order, engine="compiler")
    except IndexRangeError:
        after = state["w"].numpy()
        fresh = {"w": asarray(np.zeros((5, 5), np.float32))}
        if good:
            run_steps(step, [fresh], [x, labels], order[:good], engine="compiler")
        np.testing.assert_array_equal(after, fresh["w"].numpy(), "a failing step wrote something")
    else:
        assert ((used >= 0) & (used < 5)).all()


def cache_files(seed):
    """Files truncated, with flipped bits, swapped, or of somebody else's."""
    from test_cache_damage import HARM, compile_and_run

    from chainrule.program.compiler.cache import folder

    rng = random.Random(seed)
    code = Path(folder.location()) / "code"
    shutil.rmtree(code, ignore_errors=True)
    expected = compile_and_run()
    kept = code.parent.parent / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(code, kept)
    for _ in range(25):
        shutil.rmtree(code)
        shutil.copytree(kept, code)
        for path in sorted(code.iterdir()):
            rng.choice(HARM)(path, rng)
        np.testing.assert_array_equal(compile_and_run(), expected)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    name, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    for number in range(first, last):
        globals()[name](number)
        print(number, flush=True)
