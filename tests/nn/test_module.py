"""``Module``: roles of attributes, walks, modes, ties, copies, layer paths, Programs."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.array import asarray, cut, variable
from chainrule.autodiff import gradients, value_and_grad
from chainrule.errors import ArgumentError, DtypeError, ShapeError, StateError
from chainrule.nn.calls import observe_calls
from chainrule.program import compile
from chainrule.tree import flatten


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(11)


def data(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Net(nn.Module):
    def __init__(self):
        self.scale = nn.Parameter(asarray([2.0, 0.5]))
        self.layers = [nn.Linear(3, 4), nn.Linear(4, 2)]
        self.heads = {"a": nn.Linear(2, 2, bias=False)}
        self.count = cr.zeros((), dtype=cr.int64)
        self.width = 4

    def forward(self, x):
        for layer in self.layers:
            x = cr.tanh(layer(x))
        return self.heads["a"](x) * self.scale


PATHS = [
    "scale",
    "layers.0.weight",
    "layers.0.bias",
    "layers.1.weight",
    "layers.1.bias",
    "heads.a.weight",
]


def test_parameters_buffers_and_inner_layers_are_found():
    net = Net()
    assert [path for path, _ in net.named_parameters()] == PATHS
    assert [path for path, _ in net.named_buffers()] == ["count"]
    assert [path for path, _ in net.named_modules()] == ["", "layers.0", "layers.1", "heads.a"]
    assert net.n_parameters == 2 + 16 + 10 + 4
    assert len(list(net.parameters())) == len(PATHS)
    assert [leaf.path for leaf in flatten(net)[0]] == [*PATHS, "count"]


def test_gradients_have_the_paths_of_the_parameters():
    net = Net()
    _, grads = value_and_grad(lambda m, x: (m(x) ** 2).sum())(net, data(5, 3))
    assert list(grads) == PATHS
    assert all(grads[path].shape == value.shape for path, value in net.named_parameters())


def test_an_array_assigned_to_a_parameter_stays_a_parameter_without_history():
    net = Net()
    net.scale = net.scale * 3.0
    assert dict(net.named_parameters())["scale"].tolist() == [6.0, 1.5]
    assert net.scale.node.op is None
    assert net.scale.node.tracked
    net.scale = np.array([1.0, 2.0])  # NumPy's float64 takes the parameter's type
    assert net.scale.dtype == np.float32
    net.count = net.count + 1
    assert [path for path, _ in net.named_buffers()] == ["count"]


def test_a_variable_becomes_a_parameter_and_none_unregisters():
    class Scale(nn.Module):
        def __init__(self):
            self.w = variable([1.0, 2.0], name="w")
            self.offset = cut(asarray([1.0]))

    scale = Scale()
    assert [path for path, _ in scale.named_parameters()] == ["w"]
    assert [path for path, _ in scale.named_buffers()] == ["offset"]
    scale.w = None
    assert not list(scale.named_parameters())
    scale.w = asarray([3.0])
    assert len(list(scale.named_buffers())) == 2
    del scale.w
    assert len(list(scale.named_buffers())) == 1


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (data(3), ShapeError, "another shape"),
        (asarray(data(2)).astype("float64"), DtypeError, "another type"),
    ],
)
def test_a_wrong_new_value_of_a_parameter_is_refused(value, kind, words):
    net = Net()
    before = net.scale
    with pytest.raises(kind, match=words):
        net.scale = value
    assert net.scale is before


def test_arrays_in_lists_are_refused():
    net = Net()
    with pytest.raises(StateError, match="neither parameters nor buffers"):
        net.weights = [nn.Parameter(data(2))]
    net.more = []
    net.more.append(nn.Parameter(data(2)))
    with pytest.raises(StateError, match="setattr"):
        flatten(net)


def test_names_of_methods_and_circles_are_refused():
    net = Net()
    for name, value in {
        "train": True,
        "n_parameters": 3,
        "parameters": nn.Parameter(data(2)),
    }.items():
        with pytest.raises(ArgumentError, match="has a method of this name"):
            setattr(net, name, value)
    with pytest.raises(ArgumentError, match="contain the Module itself"):
        net.layers[0].parent = net


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(ArgumentError, match="Empty has no forward rule"):
        Empty()(1.0)


def test_integer_parameters_are_refused_but_python_integers_become_floats():
    with pytest.raises(DtypeError, match="can not be trained"):
        nn.Parameter(np.array([1, 2]))
    assert nn.Parameter([1, 2]).dtype == np.float32


def test_modes_reach_all_layers_and_return_the_model():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5)))
    assert net.training
    assert net.eval() is net
    assert not net[1][0].training
    assert net.train()[1][0].training


def test_frozen_parameters_get_no_gradient():
    net = Net()
    net.layers[0].freeze()
    x = data(5, 3)
    _, grads = value_and_grad(lambda m: (m(x) ** 2).sum())(net)
    assert list(grads) == [path for path in PATHS if not path.startswith("layers.0")]
    trainable = [path for path, _ in net.named_parameters(trainable_only=True)]
    assert trainable == list(grads)
    assert len(list(net.named_parameters())) == len(PATHS)
    net.unfreeze()
    _, grads = value_and_grad(lambda m: (m(x) ** 2).sum())(net)
    assert list(grads) == PATHS


def test_freezing_and_modes_belong_to_the_signature_but_traced_scalars_do_not():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    run = compile(lambda m, x: m(x))
    run(net, data(2, 3))
    net[1].p = 0.1
    run(net.eval().train(), data(2, 3))
    assert run.n_compilations == 1
    net.eval()
    run(net, data(2, 3))
    assert run.n_compilations == 2
    net[0].freeze()
    run(net, data(2, 3))
    assert run.n_compilations == 3


def test_static_attributes_belong_to_the_signature():
    net = Net()
    run = compile(lambda m, x: m(x) * m.width)
    first = run(net, data(2, 3)).numpy()
    net.width = 8
    np.testing.assert_allclose(run(net, data(2, 3)).numpy(), 2 * first, rtol=1e-6)
    assert run.n_compilations == 2


class Tied(nn.Module):
    def __init__(self):
        self.encoder = nn.Linear(3, 3, bias=False)
        self.decoder = nn.Linear(3, 3, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.decoder(cr.tanh(self.encoder(x)))


def test_tied_parameters_are_one():
    net, x = Tied(), data(4, 3)
    assert [path for path, _ in net.named_parameters()] == ["encoder.weight"]
    assert list(net.state_dict()) == ["encoder.weight", "decoder.weight"]
    _, grads = value_and_grad(lambda m: (m(x) ** 2).sum())(net)
    assert list(grads) == ["encoder.weight"]
    apart = Tied()
    apart.decoder.weight = nn.Parameter(net.encoder.weight)
    apart.encoder.weight = net.encoder.weight
    apart.encoder.weight = nn.Parameter(net.encoder.weight)
    _, parts = value_and_grad(lambda m: (m(x) ** 2).sum())(apart)
    total = parts["encoder.weight"].numpy() + parts["decoder.weight"].numpy()
    np.testing.assert_allclose(grads["encoder.weight"].numpy(), total, rtol=1e-5)


def test_ties_survive_steps_casts_and_copies():
    net, x = Tied(), data(4, 3)

    @compile
    def step(m, x):
        loss, grads = value_and_grad(lambda m: (m(x) ** 2).sum())(m)
        m.assign({path: p - 0.01 * grads[path] for path, p in m.named_parameters()})
        return loss

    first = step(net, x).item()
    assert step(net, x).item() < first
    assert step.n_compilations == 1
    for model in (net, copy.deepcopy(net), net.astype("float64")):
        assert model.encoder.weight.node is model.decoder.weight.node


def test_freezing_one_place_of_a_tie_keeps_the_tie():
    net, x = Tied(), data(4, 3)
    net.decoder.freeze()
    _, grads = value_and_grad(lambda m: (m(x) ** 2).sum())(net)
    assert list(grads) == ["encoder.weight"]
    net.assign({path: value * 0.5 for path, value in net.named_parameters()})
    assert net.encoder.weight.node is net.decoder.weight.node


def test_a_tie_may_have_two_names():
    class Table(nn.Module):
        def __init__(self):
            self.rows = nn.Parameter(data(3, 2))
            self.same = self.rows

    table = Table()
    table.rows = table.rows * 2.0
    assert len(list(table.named_parameters())) == 2  # assigning to one place unties
    table.same = table.rows
    assert len(list(table.named_parameters())) == 1


def test_a_copy_is_tied_to_nothing():
    net = Net()
    twin = copy.deepcopy(net)
    x = data(2, 3)
    np.testing.assert_array_equal(net(x).numpy(), twin(x).numpy())
    places = {leaf.value.node for leaf in flatten(net)[0]}
    assert not any(leaf.value.node in places for leaf in flatten(twin)[0])
    twin.scale = twin.scale * 0.0
    assert net.scale.tolist() == [2.0, 0.5]


def test_casting_changes_floats_only():
    net = Net().astype(cr.float64)
    assert net(data(2, 3).astype(np.float64)).dtype == np.float64
    assert net.count.dtype == np.int64
    with pytest.raises(DtypeError, match="floating type"):
        net.astype(cr.int32)


def test_a_model_from_outside_works_eagerly_and_is_refused_by_compile():
    layer, x = nn.Linear(3, 1), data(4, 3)

    def loss(scale):
        return (layer(x) * scale).sum()

    value, slope = value_and_grad(loss)(2.0)
    np.testing.assert_allclose(slope.item() * 2, value.item(), rtol=1e-6)
    found = gradients((layer(x) ** 2).sum(), layer.weight)
    exact = 2 * layer(x).numpy().T @ x
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-5)
    with pytest.raises(StateError, match="pass the Module as an argument"):
        compile(loss)(2.0)


def test_buffers_written_in_forward_are_kept():
    class Counter(nn.Module):
        def __init__(self):
            self.seen = cr.zeros((), dtype=cr.int64)
            self.weight = nn.Parameter([1.0])

        def forward(self, x):
            self.seen = self.seen + 1
            return x * self.weight

    model = Counter()
    step = compile(lambda m, x: value_and_grad(lambda m: m(x).sum())(m)[0])
    for _ in range(3):
        step(model, data(2))
    value_and_grad(lambda m: m(data(2)).sum())(model)
    assert model.seen.item() == 4
    assert model.seen.node.op is None


class Outer(nn.Module):
    def __init__(self):
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))

    def forward(self, x):
        return self.encoder(x)


def test_layer_paths_appear_in_errors():
    with pytest.raises(ShapeError, match=r"test_module\.py:\d+, layer encoder\.1") as raised:
        Outer()(data(2, 3))
    assert "nn.Linear(4, 2)" in str(raised.value)


def test_the_path_is_where_the_caller_holds_the_layer():
    shared = nn.Linear(3, 3)
    one, other = nn.Sequential(nn.Identity(), shared), nn.Sequential(shared)
    deep = nn.Sequential(one, other)
    seen = []
    with observe_calls(lambda module, path, output: seen.append(path)):
        one(data(1, 3))
        other(data(1, 3))
        shared(data(1, 3))
        deep(data(1, 3))
    assert seen == ["0", "1", "", "0", "", "", "0.0", "0.1", "0", "1.0", "1", ""]


def test_a_layer_held_elsewhere_goes_by_its_type():
    free = nn.Linear(3, 2)

    class Caller(nn.Module):
        def forward(self, x):
            return free(x)

    with pytest.raises(ShapeError, match="layer Linear"):
        Caller()(data(2, 5))


def test_layers_added_to_a_list_later_have_their_path():
    net = Net()
    net.layers.append(nn.Linear(3, 2))
    with pytest.raises(ShapeError, match=r"layer layers\.2"):
        net(data(2, 3))


def test_repr_is_a_tree():
    assert repr(Outer()) == (
        "Outer(\n"
        "  (encoder): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): Linear(in_features=5, out_features=2, bias=True)\n"
        "  )\n"
        ")"
    )
    assert "(layers.1): Linear" in repr(Net())


def test_assign_knows_its_paths():
    net = Net()
    net.assign({"layers.1.bias": np.array([1.0, 2.0]), "count": asarray(5)})
    assert net.layers[1].bias.tolist() == [1.0, 2.0]
    assert net.count.item() == 5
    with pytest.raises(StateError, match=r"layers\.1\.bias"):
        net.assign({"layers.1.bais": data(2)})


def test_one_seed_fixes_all_weights():
    def weights(seed):
        cr.random.seed(seed)
        return [value.numpy().copy() for value in Net().parameters()]

    first, again, other = weights(1), weights(1), weights(2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[1] == other[1]).any()
    assert not np.isin(first[1], first[3]).any()  # layers differ from one another


def test_weights_drawn_late_are_those_of_their_seed():
    cr.random.seed(1)
    early = nn.Linear(3, 2).weight.numpy().copy()
    cr.random.seed(1)
    late = nn.Linear(3, 2)
    cr.random.seed(5)
    assert (late.weight.numpy() == early).all()
