"""Random numbers: keys, distributions against their formulas, and the ambient state."""

import itertools
import math
import threading
from statistics import NormalDist

import numpy as np
import pytest

import chainrule as cr
from chainrule import random
from chainrule.array import asarray, leaf
from chainrule.autodiff import grad, vmap
from chainrule.errors import ArgumentError, ChainruleError, DtypeError
from chainrule.ops.origin import layer_scope
from chainrule.program import compile
from chainrule.random import RandomState, distributions

KEY = random.key(2024)
N = 100_000


def values(x):
    return np.asarray(x.numpy(), np.float64) if x.dtype.kind in "fV" else x.numpy()


# --- keys


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (0, [0, 0]),
        (7, [7, 0]),
        (2**32 + 5, [5, 1]),
        (-1, [2**32 - 1, 2**32 - 1]),
        (2**64 - 1, [2**32 - 1, 2**32 - 1]),
        (2**64 + 3, [3, 0]),
        (np.int64(9), [9, 0]),
    ],
)
def test_seeds_are_taken_modulo_2_to_the_64(seed, words):
    made = random.key(seed)
    assert (made.dtype, made.tolist()) == (np.uint32, words)


def test_a_seed_that_is_no_integer():
    with pytest.raises(ArgumentError, match=r"a seed is an integer[\s\S]*1\.5"):
        random.key(1.5)


# regression values: a change here changes every run that was ever seeded
PINNED = {
    "bits": (lambda: random.bits(KEY, 4), [2592828275, 1153470534, 4228819385, 359042194]),
    "split": (lambda: random.split(KEY)[1], [3373536268, 3061367341]),
    "fold_in": (lambda: random.fold_in(KEY, 7), [1719736, 3134646412]),
    "uniform": (lambda: random.uniform(KEY, 2), [0.6036898493766785, 0.26856327056884766]),
    "uniform64": (
        lambda: random.uniform(KEY, 2, dtype=cr.float64),
        [0.6036898737293727, 0.9845987341075839],
    ),
    "normal": (lambda: random.normal(KEY, 2), [-2.25086, -0.242942]),
    "normal64": (
        lambda: random.normal(KEY, 2, dtype=cr.float64),
        [-2.250859959121647, 0.37844224327800946],
    ),
    "truncated_normal": (lambda: random.truncated_normal(KEY, 2), [0.250687, 1.781068]),
    "exponential": (lambda: random.exponential(KEY, 2), [0.5046947, 1.3146687]),
    "gumbel": (lambda: random.gumbel(KEY, 2), [0.0773583, 1.1623684]),
    "bernoulli": (lambda: random.bernoulli(KEY, 0.5, 5), [False, True, False, True, True]),
    "categorical": (lambda: random.categorical(KEY, np.zeros((4, 4), "f")), [3, 0, 1, 2]),
    "randint": (lambda: random.randint(KEY, 6, -5, 5), [-1, -1, -1, 1, -4, -1]),
    "permutation": (lambda: random.permutation(KEY, 8), [7, 2, 4, 0, 6, 5, 3, 1]),
}


@pytest.mark.parametrize("name", PINNED)
def test_pinned_values(name):
    draw, expected = PINNED[name]
    result = draw()
    if result.dtype.kind == "f":
        np.testing.assert_allclose(result.numpy(), expected, rtol=2e-6)
    else:
        assert result.tolist() == expected


# --- every distribution: layout, determinism, keys with leading axes

DRAWS = {
    "bits": random.bits,
    "uniform": random.uniform,
    "uniform64": lambda key, shape: random.uniform(key, shape, -3, 2, dtype=cr.float64),
    "normal": random.normal,
    "normal64": lambda key, shape: random.normal(key, shape, dtype=cr.float64),
    "truncated_normal": random.truncated_normal,
    "exponential": random.exponential,
    "gumbel": random.gumbel,
    "bernoulli": lambda key, shape: random.bernoulli(key, 0.3, shape),
    "randint": lambda key, shape: random.randint(key, shape, 0, 1000),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_draw_depends_on_key_and_place_alone(draw):
    large = draw(KEY, (9, 5, 3)).numpy()
    np.testing.assert_array_equal(large, draw(random.key(2024), (9, 5, 3)).numpy())
    for rows in (0, 1, 4, 7):
        np.testing.assert_array_equal(large[:rows], draw(KEY, (rows, 5, 3)).numpy())
    np.testing.assert_array_equal(large.ravel(), draw(KEY, 135).numpy())
    assert (large != draw(random.key(2025), (9, 5, 3)).numpy()).any()
    assert draw(KEY, ()).shape == ()


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_many_keys_draw_as_in_a_loop(draw):
    keys = random.split(KEY, 4)
    one_by_one = np.stack([draw(keys[i], (3, 2)).numpy() for i in range(4)])
    np.testing.assert_array_equal(draw(keys, (3, 2)).numpy(), one_by_one)
    np.testing.assert_array_equal(vmap(lambda k: draw(k, (3, 2)))(keys).numpy(), one_by_one)


def test_vmap_of_draws_that_take_arrays():
    keys = random.split(KEY, 3)
    logits = asarray(np.random.default_rng(0).normal(size=(3, 2, 5)).astype("f"))
    chances = asarray(np.array([0.1, 0.5, 0.9], "f"))
    for batched, single in [
        (vmap(random.categorical)(keys, logits), lambda i: random.categorical(keys[i], logits[i])),
        (
            vmap(lambda k, p: random.bernoulli(k, p, 20))(keys, chances),
            lambda i: random.bernoulli(keys[i], chances[i], 20),
        ),
        (
            vmap(random.permutation)(keys, logits),
            lambda i: random.permutation(keys[i], logits[i]),
        ),
    ]:
        np.testing.assert_array_equal(
            batched.numpy(), np.stack([single(i).numpy() for i in range(3)])
        )


# --- statistics: thresholds are about five standard errors, and the seeds are fixed


def moments(x):
    x = values(x)
    centred = (x - x.mean()) / x.std()
    return x.mean(), x.var(), (centred**3).mean(), (centred**4).mean() - 3


FLOATS = ["float16", "bfloat16", "float32", "float64"]
A, PHI = 2.0, NormalDist().pdf(2.0)
INSIDE = NormalDist().cdf(A) - NormalDist().cdf(-A)
TRUNCATED_VARIANCE = 1 - 2 * A * PHI / INSIDE


def truncated_cdf(x):
    return (normal_cdf(x) - NormalDist().cdf(-A)) / INSIDE


def normal_cdf(x):
    return np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])


# name: draw, mean, variance, skewness, excess kurtosis, distribution function
DISTRIBUTIONS = {
    "uniform": (random.uniform, 0.5, 1 / 12, 0, -1.2, lambda x: x),
    "normal": (random.normal, 0, 1, 0, 0, normal_cdf),
    "truncated": (random.truncated_normal, 0, TRUNCATED_VARIANCE, 0, None, truncated_cdf),
    "exponential": (random.exponential, 1, 1, 2, 6, lambda x: 1 - np.exp(-x)),
    "gumbel": (
        random.gumbel, 0.5772156649, math.pi**2 / 6, 1.1395470994, 2.4,
        lambda x: np.exp(-np.exp(-x)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_moments(name, dtype):
    draw, *expected, _ = DISTRIBUTIONS[name]
    x = draw(random.key(11), (N,), dtype=dtype)
    assert str(x.dtype) == dtype
    # rounding to bfloat16 moves the moments by up to 2⁻⁸
    coarse = 4e-3 if dtype == "bfloat16" else 0.0
    error = 5 / math.sqrt(N)
    for found, wanted, scale in zip(moments(x), expected, (1.3, 4, 10, 80), strict=True):
        if wanted is not None:
            assert abs(found - wanted) < scale * error + coarse
    assert np.isfinite(values(x)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_kolmogorov_smirnov(name, dtype):
    draw, cdf = DISTRIBUTIONS[name][0], DISTRIBUTIONS[name][-1]
    n = 20_000
    x = np.sort(values(draw(random.key(5), (n,), dtype=dtype)))
    level = cdf(x)
    steps = np.arange(n + 1) / n
    distance = max((steps[1:] - level).max(), (level - steps[:-1]).max())
    # P(√n D > t) ≈ 2 exp(−2t²): 1e-5 at t = 2.47
    assert distance * math.sqrt(n) < 2.47


@pytest.mark.parametrize("draw", [random.uniform, random.normal], ids=["uniform", "normal"])
def test_neighbours_keys_and_lanes_are_uncorrelated(draw):
    keys = random.split(random.key(3), 5)
    rows = values(draw(keys, (N // 5,)))
    rows = np.concatenate([rows, values(draw(random.key(4), (1, N // 5)))])
    limit = 5 / math.sqrt(N // 5)
    for a, b in itertools.combinations(rows, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < limit
    for lag in (1, 2, 3, 4, 8):
        for row in rows:
            assert abs(np.corrcoef(row[lag:], row[:-lag])[0, 1]) < limit


def test_bits_are_half_ones():
    words = random.bits(random.key(1), (N,)).numpy()
    for place in range(32):
        share = ((words >> np.uint32(place)) & np.uint32(1)).mean()
        assert abs(share - 0.5) < 2.5 / math.sqrt(N)


# --- uniform


def test_uniform_stays_below_its_bound_in_every_type():
    for dtype, (low, high) in itertools.product(FLOATS, [(0, 1), (-1, 1), (5, 5.5), (-7.1, -7.0)]):
        x = values(random.uniform(random.key(2), (N,), low, high, dtype=dtype))
        edges = asarray([float(low), float(high)]).astype(dtype)
        assert values(edges)[0] <= x.min()
        assert x.max() < values(edges)[1]


def test_uniform_between_arrays():
    low, high = asarray([0.0, 10.0]), asarray([1.0, 20.0])
    x = random.uniform(KEY, (1000, 2), low, high).numpy()
    assert (x >= low.numpy()).all()
    assert (x < high.numpy()).all()
    # reparametrised: d x / d high is the unit draw
    slope = grad(lambda h: random.uniform(KEY, (), 0.0, h))(3.0)
    assert slope.item() == pytest.approx(random.uniform(KEY).item())


# --- normal


@pytest.mark.parametrize("word", [0, 2**32 - 1])
@pytest.mark.parametrize("dtype", [cr.float32, cr.float64], ids=str)
def test_draws_are_finite_where_all_bits_are_equal(monkeypatch, word, dtype):
    words = np.uint32(word)
    monkeypatch.setattr(
        distributions, "bits", lambda key, shape=(): asarray(np.full(shape, words, np.uint32))
    )
    for draw in (random.normal, random.gumbel, random.exponential, random.truncated_normal):
        assert np.isfinite(draw(KEY, 3, dtype=dtype).numpy()).all()
    for bounds in [(-math.inf, math.inf), (-5.0, 9.0)]:
        assert np.isfinite(random.truncated_normal(KEY, 3, *bounds, dtype=dtype).numpy()).all()


def test_normal_with_mean_and_deviation():
    unit = random.normal(KEY, (4, 3)).numpy()
    np.testing.assert_allclose(
        random.normal(KEY, (4, 3), 2.0, 0.5).numpy(), 2 + 0.5 * unit, rtol=1e-6
    )
    spread = asarray([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        random.normal(KEY, (4, 3), standard_deviation=spread).numpy(),
        unit * [1, 2, 3],
        rtol=1e-6,
    )
    half = random.normal(KEY, (3,), asarray([1.0, 2.0, 3.0]), dtype="float16")
    assert str(half.dtype) == "float16"


@pytest.mark.parametrize(
    ("low", "high"), [(-2, 2), (-math.inf, math.inf), (0.5, 0.6), (3, math.inf), (-9, -4), (-1, 3)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_truncated_normal_follows_the_inverse_distribution(low, high, dtype):
    x = values(random.truncated_normal(KEY, 2000, low, high, dtype=dtype))
    assert low <= x.min()
    assert x.max() <= high
    cdf = NormalDist().cdf
    below = 0.0 if low == -math.inf else cdf(low)
    above = 1.0 if high == math.inf else cdf(high)
    u = values(distributions._positive(KEY, (2000,), np.dtype("float64")))
    expected = [NormalDist().inv_cdf(below + (above - below) * level) for level in u[:200]]
    tolerance = 2e-6 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(x[:200], expected, rtol=tolerance, atol=tolerance)


# --- the others


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_bernoulli(p):
    x = random.bernoulli(random.key(8), p, (N,)).numpy()
    assert x.dtype == bool
    assert abs(x.mean() - p) <= 5 * math.sqrt(p * (1 - p) / N)
    # the threshold is exact: bits below p·2³²
    words = random.bits(random.key(8), (N,)).numpy().astype(np.float64)
    np.testing.assert_array_equal(x, words < p * 2.0**32)


def test_bernoulli_of_a_traced_scalar_equals_that_of_a_float():
    @compile
    def draw(p):
        return random.bernoulli(KEY, p, (1000,)), random.bernoulli(KEY, 1 - p, (1000,))

    for p in (0.1, 0.3, 1.0):
        kept, dropped = draw(p)
        np.testing.assert_array_equal(kept.numpy(), random.bernoulli(KEY, p, 1000).numpy())
        np.testing.assert_array_equal(dropped.numpy(), random.bernoulli(KEY, 1 - p, 1000).numpy())
    assert draw.n_compilations == 1


def test_bernoulli_takes_the_shape_of_its_probabilities():
    p = asarray([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    assert random.bernoulli(KEY, p).tolist() == (p.numpy() == 1).tolist()


def test_categorical_draws_with_the_softmax():
    logits = np.array([[0.0, 1.0, -1.0, -np.inf], [2.0, 0.0, 0.0, 0.0]], "f")
    drawn = random.categorical(random.key(6), logits, shape=(N,)).numpy()
    assert drawn.shape == (N, 2)
    for column, row in enumerate(logits.astype("d")):
        p = np.exp(row) / np.exp(row).sum()
        share = np.bincount(drawn[:, column], minlength=4) / N
        assert (np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / N)).all()
    turned = random.categorical(KEY, logits.T, axis=0)
    assert turned.shape == (2,)


def test_randint_is_even_and_holds_its_bounds():
    x = random.randint(random.key(9), (N,), -3, 4).numpy()
    assert x.dtype == np.int64
    share = np.bincount(x + 3) / N
    assert len(share) == 7
    assert (np.abs(share - 1 / 7) < 5 * math.sqrt(1 / 7 * 6 / 7 / N)).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_randint_over_the_whole_type(dtype):
    limits = np.iinfo(dtype)
    x = random.randint(KEY, (4000,), limits.min, limits.max + 1, dtype=dtype).numpy()
    assert x.dtype == dtype
    middle = (int(limits.min) + int(limits.max) + 1) // 2
    assert abs((x >= middle).mean() - 0.5) < 0.05


def test_permutation():
    order = random.permutation(random.key(1), 5000).numpy()
    assert sorted(order) == list(range(5000))
    # no element has a favourite place: the mean place of each over many permutations
    orders = np.stack([random.permutation(k, 6).numpy() for k in random.split(KEY, 600)])
    for place in range(6):
        share = np.bincount(orders[:, place], minlength=6) / 600
        assert (np.abs(share - 1 / 6) < 5 * math.sqrt(5 / 36 / 600)).all()
    x = asarray(np.arange(12.0).reshape(4, 3))
    rows = random.permutation(KEY, x).numpy()
    np.testing.assert_array_equal(rows, x.numpy()[random.permutation(KEY, 4).numpy()])
    columns = random.permutation(KEY, x, axis=1).numpy()
    np.testing.assert_array_equal(columns, x.numpy()[:, random.permutation(KEY, 3).numpy()])
    assert random.permutation(KEY, 0).shape == (0,)


def test_splitting_and_folding_never_meet():
    made = [tuple(k) for k in random.split(KEY, 1000).numpy()]
    made += [tuple(k) for k in random.fold_in(KEY, np.arange(1000)).numpy()]
    made.append(tuple(KEY.numpy()))
    assert len(set(made)) == 2001
    np.testing.assert_array_equal(
        random.fold_in(KEY, np.arange(3)).numpy()[2], random.fold_in(KEY, 2).numpy()
    )
    assert random.fold_in(KEY, -1).tolist() == random.fold_in(KEY, 2**32 - 1).tolist()


WRONG = [
    (lambda: random.uniform(KEY, 3, 1.0, 1.0), "interval is empty"),
    (lambda: random.uniform(KEY, 3, dtype=cr.int32), "floating type"),
    (lambda: random.uniform(asarray([1.0, 2.0]), 3), "no random key"),
    (lambda: random.normal(KEY, 3, 0.0, -1.0), "standard deviation is negative"),
    (lambda: random.truncated_normal(KEY, 3, 2.0, -2.0), "next to nothing"),
    (lambda: random.truncated_normal(KEY, 3, 7.0, 8.0), "next to nothing"),
    (lambda: random.bernoulli(KEY, 1.2), "no probability"),
    (lambda: random.bernoulli(KEY, math.nan), "no probability"),
    (lambda: random.randint(KEY, 3, 5, 5), "no such interval"),
    (lambda: random.randint(KEY, 3, 0, 300, dtype=cr.uint8), "no such interval"),
    (lambda: random.randint(KEY, 3, 0, 3, dtype=cr.float32), "integer type"),
    (lambda: random.split(KEY, -1), "n is negative"),
    (lambda: random.permutation(KEY, -1), "n is negative"),
    (lambda: random.fold_in(KEY, 1.5), "takes an integer"),
    (lambda: random.bits(KEY, (-1,)), "negative"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ChainruleError, match=message):
        call()


def test_random_numbers_have_no_derivative_in_the_key():
    noise = random.normal(KEY, (3,)).numpy()
    x = asarray([1.0, 2.0, 3.0])
    found = grad(lambda x: (x * random.normal(KEY, (3,))).sum())(x)
    np.testing.assert_array_equal(found.numpy(), noise)


# --- the ambient state


def drawn(state, *names):
    return [tuple(state.draw_key(name).tolist()) for name in names]


def test_each_draw_outside_programs_is_a_step():
    state = RandomState(5)
    first = drawn(state, "", "", "")
    assert len(set(first)) == 3
    assert state.step.item() == 3
    assert state.step.dtype == np.uint32
    state.reseed(5)
    assert drawn(state, "", "", "") == first
    assert drawn(RandomState(6), "", "", "") != first


def test_the_documented_formula():
    import zlib

    state = RandomState(5)
    state.draw_key()
    with layer_scope("encoder"), layer_scope("0"):
        found = state.draw_key("mask")
    expected = random.fold_in(random.fold_in(random.key(5), 1), zlib.crc32(b"encoder.0.mask#0"))
    assert found.tolist() == expected.tolist()


def test_a_trace_is_one_step_and_counts_by_path():
    state = RandomState(5)
    state.begin()
    with layer_scope("a"):
        first = drawn(state, "", "")
    with layer_scope("b"):
        second = drawn(state, "")
    state.finish()
    assert state.step.item() == 1
    assert len({*first, *second}) == 3
    # the other layer's draws do not matter
    state.reseed(5)
    state.begin()
    with layer_scope("b"):
        assert drawn(state, "") == second
    state.finish()
    state.begin()
    state.finish()
    assert state.step.item() == 1


def test_a_trace_that_failed_leaves_the_state_as_it_was():
    state = RandomState(5)
    before = (state.key, state.step)

    @compile
    def fails():
        random.layer_key()
        raise ValueError("stop")

    with random.use(state), pytest.raises(ValueError, match="stop"):
        fails()
    assert (state.key, state.step) == before
    assert len(set(drawn(state, "", ""))) == 2
    assert state.step.item() == 2


def test_programs_draw_anew_at_every_call_and_equal_themselves():
    @compile
    def step(x):
        return random.bernoulli(random.layer_key(), 0.5, (64,)), x

    with random.use(RandomState(3)) as state:
        masks = [step(asarray(1.0))[0].tolist() for _ in range(3)]
        assert state.step.item() == 3
    assert masks[0] != masks[1] != masks[2]
    with random.use(RandomState(3)):
        assert [step(asarray(1.0))[0].tolist() for _ in range(3)] == masks
    with random.use(RandomState(4)):
        assert step(asarray(1.0))[0].tolist() != masks[0]
    assert step.n_compilations == 1


def test_draws_inside_an_eager_gradient_are_steps_too():
    def loss(x):
        return (x * random.normal(random.layer_key("noise"), (3,))).sum()

    x = asarray([1.0, 2.0, 3.0])
    with random.use(RandomState(1)) as state:
        found = [grad(loss)(x).tolist() for _ in range(2)]
        assert state.step.item() == 2
    noise = random.RandomState(1)
    assert found == [random.normal(noise.draw_key("noise"), (3,)).tolist() for _ in range(2)]


def test_a_state_passed_to_a_program_is_written_back():
    @compile
    def draw(state):
        return state.draw_key(), state.draw_key()

    state, eager = RandomState(2), RandomState(2)
    found = [tuple(k.tolist()) for k in (*draw(state), *draw(state))]
    assert found == drawn(eager, "", "", "", "")
    assert state.step.item() == 4


def test_seed_use_and_threads():
    random.seed(12)
    a = random.layer_key().tolist()
    with random.use(RandomState(12)) as state:
        assert random.ambient() is state
        assert random.layer_key().tolist() == a
        seen = []
        thread = threading.Thread(target=lambda: seen.append(random.ambient()))
        thread.start()
        thread.join()
        assert seen[0] is not state
    random.seed(12)
    assert random.layer_key().tolist() == a


def test_a_state_is_a_container_of_two_arrays():
    state = RandomState(-2)
    assert [name for name, _ in state.__tree_children__()] == ["key", "step"]
    state.__tree_assign__("step", leaf(np.asarray(9, np.uint32)))
    assert repr(state) == f"RandomState({2**64 - 2}, step=9)"
    with pytest.raises(DtypeError):
        random.normal(state.key, 3, dtype="int8")


def test_folding_into_one_key_equals_folding_into_many():
    # the kernel takes another path for a single key
    keys = random.split(random.key(77), 5)
    data = np.array([0, 1, 7, 2**31, 2**32 - 1])
    together = random.fold_in(keys, data).numpy()
    alone = [random.fold_in(keys[i], int(data[i])).tolist() for i in range(5)]
    assert together.tolist() == alone
