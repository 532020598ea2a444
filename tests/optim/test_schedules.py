"""Schedules by their formulas, in combination, bound to epochs, and with state."""

import math

import numpy as np
import pytest

from chainrule import optim
from chainrule.errors import ArgumentError, StateError


def test_inverse_time_of_the_lectures():
    rates = optim.InverseTime(0.9).values(0, 100)
    np.testing.assert_allclose(rates, 0.9 / np.arange(1, 101), rtol=1e-15)


def test_linear_decay_of_the_lectures():
    # η_t = (1 − t/T) η₀ + (t/T) η_∞ until T, then η_∞, from 0.9 to 1e-9
    schedule = optim.Linear(0.9, 1e-9, 50)
    t = np.arange(51)
    np.testing.assert_allclose(
        schedule.values(0, 51), (1 - t / 50) * 0.9 + t / 50 * 1e-9, rtol=1e-12
    )
    assert schedule(0) == 0.9
    assert schedule(25) == pytest.approx(0.45, rel=1e-8)
    assert schedule(50) == schedule(51) == schedule(10**6) == 1e-9


FORMULAS = [
    (optim.Constant(0.3), lambda k: 0.3),
    (optim.StepDecay(0.5, 3, 0.2), lambda k: 0.5 * 0.2 ** (k // 3)),
    (optim.MultiStep(0.5, [2, 7], 0.1), lambda k: 0.5 * 0.1 ** ((k >= 2) + (k >= 7))),
    (optim.Exponential(0.5, 0.9), lambda k: 0.5 * 0.9**k),
    (optim.Polynomial(0.5, 8, 3.0, 0.1), lambda k: 0.1 + 0.4 * max(0, 1 - k / 8) ** 3),
    (
        optim.Cosine(0.5, 8, 0.1),
        lambda k: 0.1 + 0.2 * (1 + math.cos(math.pi * min(k, 8) / 8)),
    ),
    (
        optim.CosineWarmRestarts(0.5, 5),
        lambda k: 0.25 * (1 + math.cos(math.pi * (k % 5) / 5)),
    ),
    (optim.FunctionSchedule(lambda k: 1 / (k + 2)), lambda k: 1 / (k + 2)),
    (
        optim.Warmup(4, then=optim.Exponential(0.5, 0.9)),
        lambda k: 0.5 * (k + 1) / 5 if k < 4 else 0.5 * 0.9 ** (k - 4),
    ),
    (
        optim.Warmup(4, then=0.5, start_factor=0.2),
        lambda k: 0.5 * (0.2 + 0.8 * (k + 1) / 5) if k < 4 else 0.5,
    ),
    (
        optim.Chain([(3, 0.1), (4, optim.InverseTime(0.5)), (None, 0.01)]),
        lambda k: 0.1 if k < 3 else 0.5 / (k - 2) if k < 7 else 0.01,
    ),
    (0.5 * optim.Exponential(1.0, 0.5), lambda k: 0.5 * 0.5**k),
    (
        optim.Exponential(1.0, 0.5) * optim.StepDecay(2.0, 3),
        lambda k: 0.5**k * 2 * 0.1 ** (k // 3),
    ),
]


NAMES = [repr(s).partition("<function")[0] for s, _ in FORMULAS]  # whose address differs


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=NAMES)
def test_formulas(schedule, formula):
    expected = [formula(k) for k in range(20)]
    np.testing.assert_allclose([schedule(k) for k in range(20)], expected, rtol=1e-13)
    np.testing.assert_array_equal(schedule.values(7, 5), schedule.values(0, 12)[7:])
    assert schedule.state_dict() == {}


def test_epochs():
    schedule = optim.StepDecay(1.0, every=2, factor=0.5, unit="epoch")
    with pytest.raises(StateError, match=r"steps_per_epoch"):
        schedule(0)
    assert schedule.bind(3) is schedule
    np.testing.assert_array_equal(schedule.values(0, 13), [1] * 6 + [0.5] * 6 + [0.25])


def test_binding_reaches_the_parts():
    inner = optim.Exponential(1.0, 0.5, unit="epoch")
    schedule = optim.Warmup(4, then=inner * 2.0).bind(3)
    # the inner schedule's epochs begin with its own first step
    np.testing.assert_allclose(schedule.values(4, 7), [2, 2, 2, 1, 1, 1, 0.5])
    by_epoch = optim.Warmup(2, then=1.0, unit="epoch").bind(2)
    np.testing.assert_allclose(by_epoch.values(0, 5), [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
    chain = optim.Chain([(2, 0.1), (None, optim.InverseTime(1.0))], unit="epoch").bind(2)
    np.testing.assert_allclose(chain.values(0, 6), [0.1, 0.1, 0.1, 0.1, 1.0, 0.5])


def test_an_optimizer_follows_its_schedule():
    from chainrule.array import asarray, variable

    parameters = {"w": variable(np.array([0.0]))}
    optimizer = optim.SGD(optim.InverseTime(1.0))
    assert optimizer.learning_rate == 1.0
    for _ in range(3):
        optimizer.update(parameters, {"w": asarray(np.array([1.0]))})
    np.testing.assert_allclose(parameters["w"].numpy(), -(1 + 1 / 2 + 1 / 3))
    assert optimizer.learning_rate == 0.25
    np.testing.assert_allclose(
        optimizer.__step_scalars__(2)["learning_rate"], [1 / 4, 1 / 5], rtol=1e-15
    )


def test_plateau():
    schedule = optim.ReduceOnPlateau(1.0, factor=0.5, patience=1, cooldown=1, minimum=0.3)
    seen = []
    for metric in (5.0, 4.0, 4.0, math.nan, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0):
        schedule.report(metric)
        seen.append(schedule(0))
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]


def test_plateau_keeps_its_state():
    def make():
        return optim.Warmup(2, then=optim.ReduceOnPlateau(1.0, patience=0, mode="max")) * 2.0

    first, second = make(), make()
    for metric in (1.0, 0.5):
        first.report(metric)
    state = first.state_dict()
    assert state == {"first": {"then": {"current": 0.1, "best": 1.0, "n_bad": 0, "cooling": 0}}}
    second.load_state_dict(state)
    assert second(5) == first(5) == pytest.approx(0.2)
    first.report(0.4)
    assert second(5) == pytest.approx(0.2)
    with pytest.raises(StateError, match="does not fit"):
        optim.Constant(0.1).load_state_dict(state)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.Constant(-1.0),
        lambda: optim.Constant(math.nan),
        lambda: optim.Linear(0.1, math.inf, 5),
        lambda: optim.Linear(0.1, 0.01, 0),
        lambda: optim.Linear(0.1, 0.01, 2.5),
        lambda: optim.Exponential(0.1, 1.5),
        lambda: optim.Exponential(0.1, 0.0),
        lambda: optim.StepDecay(0.1, 0),
        lambda: optim.StepDecay(0.1, 3, unit="week"),
        lambda: optim.MultiStep(0.1, [5, 3]),
        lambda: optim.Chain([]),
        lambda: optim.Chain([(0, 0.1), (None, 0.2)]),
        lambda: optim.Warmup(0, then=0.1),
        lambda: optim.Warmup(3, then=0.1, start_factor=1.0),
        lambda: optim.OneCycle(0.1, 10, annealing="steps"),
        lambda: optim.OneCycle(0.1, 10, rise=0.6, three_phase=True),
        lambda: optim.OneCycleMomentum(10, maximum=0.5, minimum=0.6),
        lambda: optim.ReduceOnPlateau(0.1, factor=1.0),
        lambda: optim.ReduceOnPlateau(0.1, mode="up"),
        lambda: optim.FunctionSchedule(0.1),
        lambda: optim.FunctionSchedule(lambda step: -1.0)(3),
        lambda: optim.Constant(0.1)(-1),
        lambda: optim.Constant(0.1).bind(0),
        lambda: optim.Constant(0.1) * -2.0,
    ],
)
def test_wrong_settings_are_refused(make):
    with pytest.raises(ArgumentError):
        make()


def test_only_numbers_and_schedules_multiply():
    with pytest.raises(TypeError):
        optim.Constant(0.1) * "2"


def test_plot(tmp_path):
    path = tmp_path / "rate.png"
    optim.OneCycle(0.1, 40).plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    figure = optim.Warmup(5, then=optim.Cosine(0.1, 20)).plot()
    drawn = figure.axes[0].lines[0].get_ydata()
    assert len(drawn) == 26


def test_repr_shows_the_settings():
    schedule = optim.Warmup(3, then=optim.Cosine(0.1, 20, unit="epoch"))
    assert repr(schedule) == (
        "Warmup(duration=3, then=Cosine(initial=0.1, duration=20, final=0.0, unit='epoch'))"
    )
    assert repr(optim.Exponential(0.1, 0.5) * 2) == "Exponential(initial=0.1, factor=0.5) * 2.0"


def torch_rates(make, n=60, rate=0.5, **settings):
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=rate, momentum=0.9)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    found = []
    for _ in range(n):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        scheduler.step()
    return np.array(found).T


PEERS = [
    (optim.StepDecay(0.5, 7, 0.3), lambda s, o: s.StepLR(o, 7, 0.3)),
    (optim.MultiStep(0.5, [4, 20], 0.3), lambda s, o: s.MultiStepLR(o, [4, 20], 0.3)),
    (optim.Exponential(0.5, 0.93), lambda s, o: s.ExponentialLR(o, 0.93)),
    (optim.Linear(0.1, 0.4, 30), lambda s, o: s.LinearLR(o, 0.2, 0.8, 30)),
    (optim.Polynomial(0.5, 30, 1.7), lambda s, o: s.PolynomialLR(o, 30, 1.7)),
    (
        optim.CosineWarmRestarts(0.5, 7, 2, 0.01),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, 2, 0.01),
    ),
    (
        optim.Chain([(10, optim.Constant(0.1)), (None, optim.Exponential(0.5, 0.9))]),
        lambda s, o: s.SequentialLR(
            o, [s.ConstantLR(o, 0.2, 1000), s.ExponentialLR(o, 0.9)], milestones=[10]
        ),
    ),
]


@pytest.mark.peer
@pytest.mark.parametrize(("ours", "theirs"), PEERS, ids=[type(s).__name__ for s, _ in PEERS])
def test_peers(ours, theirs):
    np.testing.assert_allclose(ours.values(0, 60), torch_rates(theirs)[0], rtol=1e-11)


@pytest.mark.peer
def test_peer_cosine():
    # PyTorch's rises again after T; ours stays
    expected = torch_rates(lambda s, o: s.CosineAnnealingLR(o, 30, 0.01), n=31)[0]
    np.testing.assert_allclose(optim.Cosine(0.5, 30, 0.01).values(0, 31), expected, rtol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("annealing", ["cosine", "linear"])
def test_peer_one_cycle(annealing, three_phase):
    rates, momenta = torch_rates(
        lambda s, o: s.OneCycleLR(
            o, 0.5, 61, anneal_strategy=annealing[:6].replace("cosine", "cos"),
            three_phase=three_phase, pct_start=0.4,
        )
    )  # fmt: skip
    settings = {"rise": 0.4, "annealing": annealing, "three_phase": three_phase}
    ours = optim.OneCycle(0.5, 61, **settings)
    np.testing.assert_allclose(ours.values(0, 60), rates, rtol=1e-11)
    ours = optim.OneCycleMomentum(61, **settings)
    np.testing.assert_allclose(ours.values(0, 60), momenta, rtol=1e-11)


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_peer_plateau(mode, threshold_mode):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    settings = {
        "factor": 0.7, "patience": 2, "threshold": 0.05, "threshold_mode": threshold_mode,
        "cooldown": 2, "mode": mode,
    }  # fmt: skip
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=0.05, **settings)
    ours = optim.ReduceOnPlateau(0.5, minimum=0.05, **settings)
    for metric in np.random.default_rng(0).normal(2, 0.3, size=60).tolist():
        peer.step(metric)
        ours.report(metric)
        assert ours(0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
