"""Normalisation: PyTorch's numbers and state, running statistics as effects, messages."""

import numpy as np
import pytest
from layer_agreement import ENGINES, agree_with_torch, close, normal

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.nn import functional as F


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(2)


# class, its arguments, PyTorch's settings, the input
TABLE = {
    "batch 1d": ("BatchNorm1d", (3,), {}, (5, 3)),
    "batch 1d, length": ("BatchNorm1d", (3,), {"eps": 0.1}, (4, 3, 5)),
    "batch 2d": ("BatchNorm2d", (3,), {"momentum": 0.3}, (4, 3, 5, 6)),
    "batch 2d, one sample": ("BatchNorm2d", (2,), {}, (1, 2, 3, 3)),
    "batch 2d, mean of all": ("BatchNorm2d", (2,), {"momentum": None}, (2, 2, 3, 3)),
    "batch 2d, plain": (
        "BatchNorm2d",
        (2,),
        {"affine": False, "track_running_stats": False},
        (3, 2, 4, 3),
    ),
    "batch 2d, no shift": ("BatchNorm2d", (2,), {"bias": False}, (3, 2, 4, 3)),
    "batch 3d": ("BatchNorm3d", (2,), {}, (2, 2, 2, 3, 4)),
    "instance 1d": ("InstanceNorm1d", (3,), {}, (2, 3, 6)),
    "instance 2d": ("InstanceNorm2d", (3,), {"affine": True}, (2, 3, 4, 5)),
    "instance 2d, tracked": (
        "InstanceNorm2d",
        (3,),
        {"affine": True, "track_running_stats": True},
        (3, 3, 4, 5),
    ),
    "instance 3d": ("InstanceNorm3d", (2,), {}, (2, 2, 2, 3, 4)),
    "group": ("GroupNorm", (2, 6), {}, (3, 6, 4, 5)),
    "group, vectors": ("GroupNorm", (2, 6), {"affine": False}, (3, 6)),
    "group, no shift": ("GroupNorm", (2, 6), {"bias": False}, (2, 6, 3)),
    "group, one a channel": ("GroupNorm", (4, 4), {"eps": 0.01}, (2, 4, 3)),
    "layer": ("LayerNorm", (6,), {}, (4, 5, 6)),
    "layer, two axes": ("LayerNorm", ((5, 6),), {"bias": False}, (4, 5, 6)),
    "layer, plain": ("LayerNorm", (6,), {"elementwise_affine": False}, (2, 6)),
    "root mean square": ("RMSNorm", (6,), {}, (4, 6)),
    "root mean square, two axes": ("RMSNorm", ((3, 4),), {"eps": 0.1}, (2, 3, 4)),
    "local response": ("LocalResponseNorm", (3,), {"alpha": 0.5, "k": 2.0}, (2, 5, 3, 4)),
    "local response, even": ("LocalResponseNorm", (4,), {"alpha": 2.0, "beta": 0.5}, (2, 5, 3)),
}


def made(kind, arguments, settings):
    spelled = {"epsilon" if k == "eps" else k: v for k, v in settings.items()}
    return getattr(nn, kind)(*arguments, **spelled)


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", TABLE)
def test_values_gradients_and_state_agree_with_pytorch(name, mode):
    torch = pytest.importorskip("torch")
    kind, arguments, settings, shape = TABLE[name]
    peer = getattr(torch.nn, kind)(*arguments, **settings)
    ours = made(kind, arguments, settings)
    for seed, (part, value) in enumerate(peer.state_dict().items()):
        if "num" not in part:  # not the ones and zeros that they begin with
            value.copy_(torch.from_numpy(np.abs(normal(*value.shape, seed=seed)) + 0.5))
    if kind == "RMSNorm":
        peer.eps = peer.eps or float(np.finfo(np.float32).eps)  # the peer computes in float64
    training = mode == "train"
    # PyTorch's instance norm does not count its batches
    apart = ["num_batches_tracked"] if kind.startswith("Instance") else []
    agree_with_torch(ours.train(training), peer.train(training), 3 * normal(*shape), apart=apart)


@pytest.mark.parametrize(
    "name",
    ["batch 2d", "instance 1d", "group", "layer, two axes", "root mean square", "local response"],
)
def test_gradients_agree_with_differences(name):
    kind, arguments, settings, shape = TABLE[name]
    layer = made(kind, arguments, settings).astype("float64")
    x, weights = normal(*shape).astype(np.float64), normal(*shape, seed=9)
    cr.check_gradients(lambda m, x: (m(x) * weights).sum(), (layer, x))


def test_second_derivatives_agree_with_differences():
    x, weight = normal(3, 5).astype(np.float64), normal(5, seed=1).astype(np.float64)
    cr.check_gradients(lambda x: F.layer_norm(x, 5), (x,), order=2)
    cr.check_gradients(lambda x, w: F.batch_norm(x, weight=w), (x, weight), order=2)


def test_forward_mode_and_batching_agree_with_reverse_mode():
    x, direction = cr.asarray(normal(4, 6)), cr.asarray(normal(4, 6, seed=1))
    jacobian = cr.jacobian(lambda x: F.layer_norm(x, 6))(x).numpy()
    _, pushed = cr.jvp(lambda x: F.layer_norm(x, 6), (x,), (direction,))
    wanted = np.einsum("abcd,cd->ab", jacobian, direction.numpy())
    np.testing.assert_allclose(pushed.numpy(), wanted, rtol=1e-4, atol=1e-5)
    rows = cr.vmap(lambda row: F.layer_norm(row, 6))(x)
    close(rows, F.layer_norm(x, 6), "rows", 1e-6)
    weight = cr.asarray(normal(3, seed=2))
    batches = normal(2, 4, 3, 5)
    mapped = cr.vmap(lambda x: F.batch_norm(x, weight=weight))(batches)
    close(mapped, np.stack([F.batch_norm(x, weight=weight) for x in batches]), "batches", 1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_running_statistics_are_effects_of_compiled_steps(engine):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 1))
    by_hand = {name: value.numpy() for name, value in model.state_dict().items()}
    batches = normal(3, 5, 1, 4, 4)
    optimizer = optim.SGD(0.0)

    @cr.compile(engine=engine)
    def step(model, optimizer, x):
        loss, grads = cr.value_and_grad(lambda m: (m(x) ** 2).mean())(model)
        optimizer.update(model, grads)
        return loss

    mean, variance = by_hand["1.running_mean"], by_hand["1.running_var"]
    for x in batches:
        step(model, optimizer, x)
        z = model[0](x).numpy()
        mean = 0.9 * mean + 0.1 * z.mean(axis=(0, 2, 3))
        variance = 0.9 * variance + 0.1 * z.var(axis=(0, 2, 3), ddof=1)
    assert step.n_compilations == 1
    assert model[1].num_batches_tracked.item() == 3
    close(model[1].running_mean, mean, "running mean", 1e-5)
    close(model[1].running_var, variance, "running variance", 1e-5)
    x = normal(1, 1, 4, 4, seed=8)
    z = model[0](x).numpy()
    wanted = (z - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    close(model[:2].eval()(x), wanted, "evaluation", 1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_many_steps_in_one_call_leave_the_same_statistics(engine, momentum):
    def trained(run):
        cr.random.seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=momentum))
        run(model, optim.SGD(0.1))
        return {k: v.numpy() for k, v in model.state_dict().items()}

    def step(model, optimizer, x):
        loss, grads = cr.value_and_grad(lambda m: (m(x) ** 3).mean())(model)
        optimizer.update(model, grads)
        return loss

    data, order = normal(20, 3), np.random.default_rng(0).permutation(20).reshape(4, 5)

    def one_by_one(model, optimizer):
        for rows in order:
            step(model, optimizer, data[rows])

    def at_once(model, optimizer):
        cr.run_steps(step, (model, optimizer), (data,), order, engine=engine)

    wanted, found = trained(one_by_one), trained(at_once)
    assert found["1.num_batches_tracked"] == 4
    for name in wanted:
        close(found[name], wanted[name], name, 1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_checkpoints_write_once_and_loops_at_every_turn(engine):
    x = normal(6, 3)

    def recomputed(layer, x):
        return cr.grad(lambda m: (cr.checkpoint(lambda m, x: m(x))(m, x) ** 3).sum())(layer)

    def looped(layer, xs):
        return cr.scan(lambda total, x: (total + layer(x).sum(), None), cr.asarray(0.0), xs)[0]

    layer = nn.BatchNorm1d(3)
    grads = cr.compile(recomputed, engine=engine)(layer, x)
    close(layer.running_mean, 0.1 * x.mean(axis=0), "after a checkpoint", 1e-6)
    plain = cr.grad(lambda m: (m(x) ** 3).sum())(nn.BatchNorm1d(3))
    close(grads["weight"], plain["weight"], "the gradient", 1e-5)
    layer = nn.BatchNorm1d(3)
    cr.compile(looped, engine=engine)(layer, np.stack([x, x + 1]))
    assert layer.num_batches_tracked.item() == 2
    wanted = 0.9 * 0.1 * x.mean(axis=0) + 0.1 * (x + 1).mean(axis=0)
    close(layer.running_mean, wanted, "after a loop", 1e-6)


def test_a_batch_of_none_changes_nothing_and_one_number_is_refused():
    layer = nn.BatchNorm2d(3)
    assert layer(normal(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert layer.num_batches_tracked.item() == 0
    assert (layer.running_var.numpy() == 1).all()
    with pytest.raises(ShapeError, match="one number a channel") as raised:
        nn.Sequential({"norm": layer})(normal(1, 3, 1, 1))
    assert "layer norm" in str(raised.value)
    assert layer.eval()(normal(1, 3, 1, 1)).shape == (1, 3, 1, 1)
    with pytest.raises(ShapeError, match="one place a channel"):
        nn.InstanceNorm1d(3)(normal(4, 3, 1))
    for empty in (nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.InstanceNorm1d(3)):
        shape = (0, 3, 3)
        assert empty(normal(*shape)).shape == shape


def test_statistics_are_not_learned_and_frozen_ones_stay():
    layer = nn.BatchNorm1d(3)
    grads = cr.grad(lambda m: (m(normal(4, 3)) ** 3).sum())(layer)
    assert sorted(grads) == ["bias", "weight"]
    assert sorted(dict(layer.named_buffers())) == [
        "num_batches_tracked",
        "running_mean",
        "running_var",
    ]
    before = layer.eval().state_dict()
    cr.compile(lambda m, x: m(x))(layer, normal(4, 3))
    for name, value in before.items():
        np.testing.assert_array_equal(layer.state_dict()[name].numpy(), value.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_types_do_not_overflow(dtype):
    x = cr.asarray(300 * normal(4, 6) + 5).astype(dtype)  # squares beyond float16
    exact = F.layer_norm(x.astype("float64"), 6).numpy()
    rounding = 2e-3 if dtype == "float16" else 2e-2
    for function in (lambda x: F.layer_norm(x, 6), lambda x: F.batch_norm(x.T).T):
        y = function(x)
        assert str(y.dtype) == dtype
    close(F.layer_norm(x, 6).astype("float64"), exact, "layer norm", rounding)
    square = np.square(x.astype("float64").numpy()).mean(axis=1, keepdims=True)
    wanted = x.astype("float64").numpy() / np.sqrt(square)
    close(F.rms_norm(x, 6, epsilon=1e-6).astype("float64"), wanted, "rms norm", rounding)


def test_relatives_agree_with_one_another():
    x = normal(3, 6, 4, 5)
    close(nn.GroupNorm(6, 6)(x), nn.InstanceNorm2d(6)(x), "a group a channel", 1e-6)
    close(nn.GroupNorm(1, 6)(x), nn.LayerNorm((6, 4, 5))(x), "one group", 1e-6)
    alone = np.concatenate([nn.BatchNorm2d(6)(x[i : i + 1]).numpy() for i in range(3)])
    close(nn.InstanceNorm2d(6)(x), alone, "batches of one", 1e-6)


WRONG_INPUTS = {
    "axes": (nn.BatchNorm2d(3), (4, 3), "reshape it to 4 axes"),
    "batch, no batch": (nn.BatchNorm2d(3), (3, 8, 8), r"x\[None\]"),
    "channels": (nn.BatchNorm1d(3), (5, 4), r"\(batch, 3"),
    "channels last": (nn.BatchNorm2d(3), (5, 4, 4, 3), "permute_dims"),
    "instance": (nn.InstanceNorm1d(3), (5, 2, 4), "2 input channels"),
    "group": (nn.GroupNorm(2, 4), (5, 6, 3), "6 input channels"),
    "group of vectors": (nn.GroupNorm(2, 4), (5, 6), "6 input channels"),
    "no channels": (nn.GroupNorm(2, 4), (5,), r"\(batch, channels"),
    "layer": (nn.LayerNorm(4), (5, 3), r"normalized_shape=\(3,\)"),
    "layer, channels": (nn.LayerNorm(4), (5, 4, 3), r"nn\.GroupNorm\(1, channels\)"),
    "layer, whole": (nn.LayerNorm((4, 3)), (4,), "the batch not among them"),
    "root mean square": (nn.RMSNorm(4), (5, 3), r"\(\.\.\., 4\)"),
    "local response": (nn.LocalResponseNorm(3), (5,), r"\(batch, channels"),
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
def test_a_wrong_input_is_told(name):
    layer, shape, message = WRONG_INPUTS[name]
    with pytest.raises(ShapeError, match=message) as raised:
        nn.Sequential({"norm": layer})(normal(*shape))
    assert "layer norm" in str(raised.value)


WRONG_SETTINGS = {
    "features": (lambda: nn.BatchNorm2d(0), "num_features"),
    "epsilon": (lambda: nn.LayerNorm(3, epsilon=0), "epsilon must be positive"),
    "momentum": (lambda: nn.BatchNorm2d(3, momentum=1.5), "momentum is out of its range"),
    "groups": (lambda: nn.GroupNorm(4, 6), "the groups must divide the channels"),
    "shape": (lambda: nn.LayerNorm((3, 0)), "a size in normalized_shape"),
    "size": (lambda: nn.LocalResponseNorm(0), "size"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_wrong_setting_is_told(name):
    make, message = WRONG_SETTINGS[name]
    with pytest.raises(ArgumentError, match=message):
        make()


def test_eps_is_answered_by_epsilon():
    with pytest.raises(TypeError, match="BatchNorm2d: eps= is spelled epsilon= here") as raised:
        nn.BatchNorm2d(3, eps=1e-3)
    assert "BatchNorm2d(num_features, epsilon=0.001)" in str(raised.value)
    with pytest.raises(TypeError, match="layer_norm: eps= is spelled epsilon="):
        F.layer_norm(normal(2, 3), 3, eps=1e-3)


def test_types_do_not_mix_silently():
    with pytest.raises(DtypeError, match="computes in float32"):
        nn.BatchNorm1d(3)(normal(4, 3).astype(np.float64))
    assert nn.BatchNorm1d(3)(np.arange(6).reshape(2, 3)).dtype == np.float32
    with pytest.raises(ShapeError, match="do not form 4 groups"):
        F.group_norm(normal(2, 6), 4)
