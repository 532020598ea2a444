"""``check_gradients`` accepts right derivatives, rejects wrong ones, and leaves no traces."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, random
from chainrule.array import asarray
from chainrule.autodiff import check_gradients, custom_vjp
from chainrule.errors import ArgumentError, GradientError
from chainrule.random import RandomState

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
Y = RNG.normal(size=(4, 2))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_derivatives_pass(order):
    report = check_gradients(
        lambda x, y: {"a": cr.sin(x) @ y, "b": [(x * x * x).sum()]}, (X, Y), order=order
    )
    assert report.passed
    assert len(report.leaves) == 2 * order
    assert report.worst.relative_error < 1e-7
    # bilinear in y: the first derivatives are exact but for rounding
    assert all(check.relative_error < 1e-9 for check in report.leaves if check.order == 1)


def planted(rule):
    """x·y summed over rows, with a derivative rule that a test may spoil."""

    def forward(x, y):
        return (x * y).sum(axis=0), (x, y)

    return custom_vjp(lambda x, y: (x * y).sum(axis=0)).define(
        forward, lambda kept, g: rule(*kept, g)
    )


def right(x, y, g):
    return g * y, g * x


WRONG = {
    "sign": lambda x, y, g: (-g * y, g * x),
    "factor 2": lambda x, y, g: (g * y, g * x * 2.0),
    "swapped arguments": lambda x, y, g: (g * x, g * y),
    "dropped sum": lambda x, y, g: (g * y, cr.where(cr.arange(3)[:, None] == 0, g * x, 0.0)),
    "forgotten": lambda x, y, g: (g * y, None),
    "not a number": lambda x, y, g: (g * y, g * x + cr.nan),
    "infinite in one place": lambda x, y, g: (cr.where(x == x.max(), cr.inf, g * y), g * x),
    "cotangent ignored": lambda x, y, g: (y * 1.0, x * 1.0),
    "a small relative error": lambda x, y, g: (g * y * (1 + 1e-5), g * x),
}


def test_the_right_rule_passes():
    assert check_gradients(planted(right), (X, X + 1), order=2).passed


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules_are_caught(name):
    with pytest.raises(GradientError) as caught:
        check_gradients(planted(WRONG[name]), (X, X + 1))
    report = caught.value.report
    assert not report.passed
    wrong_leaf = {"sign": "0", "factor 2": "1", "forgotten": "1", "dropped sum": "1"}.get(name)
    if wrong_leaf:
        assert [c.name for c in report.leaves if not c.passed] == [wrong_leaf]
    assert f" in {report.worst.name} at {report.worst.place} " in str(caught.value)


def test_wrong_rules_are_caught_in_large_leaves_too():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(40, 10)), generator.normal(size=(40, 10))
    assert check_gradients(planted(right), (x, y)).passed
    spot = np.zeros((40, 10))
    spot[17, 3] = 1.0  # one wrong entry among 400: the direction finds what the sample misses
    for rule in (
        WRONG["factor 2"],
        lambda x, y, g: (g * y + cr.asarray(spot), g * x),
    ):
        with pytest.raises(GradientError):
            check_gradients(planted(rule), (x, y))


def test_a_second_order_error_is_caught_where_the_first_is_right():
    def rule(x, y, g):
        return g * cr.stop_gradient(y), g * x

    assert check_gradients(planted(rule), (X, X + 1)).passed
    with pytest.raises(GradientError, match="order 2 in 1"):
        check_gradients(planted(rule), (X, X + 1), order=2)


def test_the_error_names_leaf_entry_and_both_numbers():
    def f(d):
        return cube(d["weights"][1])

    cube = custom_vjp(lambda x: x**3).define(lambda x: (x**3, x), lambda x, g: (g * x * x * 2.0,))
    with pytest.raises(GradientError) as caught:
        check_gradients(f, ({"weights": [X, np.array([2.0])]},))
    message = str(caught.value)
    assert "in 0.weights.1 at [0] is wrong" in message
    worst = caught.value.report.worst
    assert worst.index == (0,)
    assert worst.analytic / worst.numeric == pytest.approx(2 / 3)
    assert f"{worst.numeric:.9g}" in message
    assert f"{worst.analytic:.9g}" in message
    assert "0.weights.1" in caught.value.__notes__[0]


def test_nan_at_the_sample_fails():
    with pytest.raises(GradientError, match=r"result 0 is nan at \[1\] of shape \(2,\)"):
        check_gradients(cr.log, (np.array([1.0, -1.0]),))
    with pytest.raises(GradientError, match=r"result 0 is -inf"):
        check_gradients(cr.log, (np.array([0.0]),))
    with pytest.raises(GradientError, match="is not finite"):
        check_gradients(cr.sqrt, (np.array([0.0, 1.0]),))


def test_the_report_fits_80_columns():
    tree = {"a_very_long_name_for_a_parameter_of_a_deep_network": X, "b": Y[:, 0]}
    report = check_gradients(lambda t: [cr.exp(v) for v in t.values()], (tree,), order=2)
    text = str(report)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.splitlines()[0].split() == [
        "leaf", "worst", "at", "chain", "rule", "differences", "error", "order",
    ]  # fmt: skip
    assert "…" in text
    assert text.endswith("all within a relative tolerance of 1e-06")


class Noisy(nn.Module):
    """A tied weight, a frozen one, a buffer and noise."""

    def __init__(self):
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.fixed = nn.Linear(4, 2).freeze()
        self.seen = asarray(0.0)

    def forward(self, x):
        self.seen = self.seen + x.sum()
        noise = random.normal(random.layer_key(), x.shape)
        kept = random.bernoulli(random.layer_key(), 0.5, x.shape)
        return (
            self.fixed(self.second(cr.tanh(self.first(cr.where(kept, x + noise, 0.0))))) + self.seen
        )


@pytest.mark.parametrize("way", ["module", "argument", "closure"])
def test_modules_are_cast_checked_and_left_as_they_were(way):
    model = Noisy()
    x = asarray(X.astype(np.float32))
    before = dict(model.named_parameters()) | dict(model.named_buffers())
    with random.use(RandomState(3)) as state:
        state.draw_key()
        held = (state.key, state.step)
        if way == "module":
            report = check_gradients(model, (x,))
        elif way == "argument":
            report = check_gradients(lambda m, x: m(x), (model, x))
        else:
            report = check_gradients(lambda x: model(x), (x,))
        assert state.key is held[0]
        assert state.step is held[1]
    names = [check.name for check in report.leaves]
    prefix = {"module": "function", "argument": "0"}.get(way)
    own = [f"{prefix}.first.weight", f"{prefix}.first.bias", f"{prefix}.second.bias"]
    assert sorted(names) == sorted([("1" if way == "argument" else "0"), *(own if prefix else [])])
    after = dict(model.named_parameters()) | dict(model.named_buffers())
    assert all(after[name] is before[name] for name in before)
    assert model.first.weight.dtype == np.float32


def test_state_is_put_back_after_a_failure():
    model = Noisy()
    weight, seen = model.first.weight, model.seen

    def fails(x):
        model(x)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        check_gradients(fails, (X,))
    assert model.first.weight is weight
    assert model.seen is seen


def test_argnums_choose_and_integers_pass():
    index = np.array([1, 0])
    f = lambda x, i, y: cr.take(x, i, axis=0) * y  # noqa: E731
    report = check_gradients(f, (X, index, Y.T.copy()[:, :]))
    assert [c.name for c in report.leaves] == ["0", "2"]
    assert [c.name for c in check_gradients(f, (X, index, 2.5), argnums=2).leaves] == ["2"]
    wrong_elsewhere = planted(WRONG["factor 2"])
    assert check_gradients(wrong_elsewhere, (X, X), argnums=[0]).passed
    assert check_gradients(cr.sin, asarray([1.0, 2.0])).passed


def test_step_tolerance_and_seed():
    def in_float32(x):
        return cr.sin(x.astype("float32") * 3.0)

    with pytest.raises(GradientError, match="float32 needs step="):
        check_gradients(in_float32, (X,))
    assert check_gradients(in_float32, (X,), step=1e-2, tolerance=2e-3).tolerance == 2e-3
    a, b = (check_gradients(cr.sin, (X,), seed=s).leaves[0].numeric for s in (0, 1))
    assert a != b
    assert check_gradients(cr.sin, (X,), seed=0).leaves[0].numeric == a


def test_empty_leaves_and_large_numbers():
    assert check_gradients(lambda x, y: x.sum() + y * y, (np.zeros((0, 3)), np.array([1e6]))).passed
    assert check_gradients(lambda x: x * 1e-12, (X,)).passed
    assert check_gradients(lambda x: x * 0.0 + 5.0, (X,)).passed


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_gradients(cr.sin, (X,), order=0), ArgumentError, "no such order"),
        (lambda: check_gradients(cr.sin, (X,), argnums=1), ArgumentError, "names no argument"),
        (
            lambda: check_gradients(lambda i: i, (np.arange(3),)),
            ArgumentError,
            "nothing to differentiate",
        ),
        (
            lambda: check_gradients(lambda x: x > 0, (X,)),
            GradientError,
            "returns no floating Array",
        ),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
