"""Recurrence: PyTorch's numbers with lengths and states, derivatives through time, messages."""

import numpy as np
import pytest
from layer_agreement import ENGINES, close, normal

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, DtypeError, ShapeError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(2)


def leaves(states):
    """The states as a flat list: one, or h and c."""
    return list(states) if isinstance(states, tuple | list) else [states]


def filled(peer):
    """The peer's parameters drawn anew; a copy of its state."""
    import torch

    with torch.no_grad():
        for seed, value in enumerate(peer.parameters()):
            value.copy_(torch.from_numpy(normal(*value.shape, seed=seed) / 2))
    return {k: v.detach().clone() for k, v in peer.state_dict().items()}


LENGTHS = np.array([3, 5, 1])
MANY = np.array([3, 5, 1, 5, 2, 4, 4, 1, 3, 3, 5, 2, 1, 1, 2, 4, 5])  # loops compute few rows
# layer, settings, lengths, initial states
TABLE = {
    "plain": ("RNN", {}, None, False),
    "plain, relu": ("RNN", {"nonlinearity": "relu", "batch_first": True}, None, True),
    "plain, both ways": ("RNN", {"bidirectional": True}, LENGTHS, False),
    "lstm": ("LSTM", {}, None, True),
    "lstm, stack": ("LSTM", {"num_layers": 2, "bidirectional": True}, LENGTHS, True),
    "lstm, no bias": ("LSTM", {"bias": False, "batch_first": True}, LENGTHS, False),
    "gru": ("GRU", {}, None, False),
    "gru, stack": ("GRU", {"num_layers": 2, "batch_first": True}, LENGTHS, True),
    "gru, both ways": ("GRU", {"bidirectional": True, "bias": False}, LENGTHS, True),
    "plain, many": ("RNN", {"num_layers": 2}, MANY, False),
    "lstm, many": ("LSTM", {"num_layers": 2, "bidirectional": True}, MANY, True),
    "gru, many": ("GRU", {"batch_first": True}, MANY, True),
}
COMPILED = ("lstm, no bias", "gru, both ways", "plain, many", "gru, many")


def run_peer(peer, x, states, lengths, batch_first):
    import torch

    if lengths is None:
        return peer(x, states)
    utilities = torch.nn.utils.rnn
    packed = utilities.pack_padded_sequence(
        x, torch.from_numpy(lengths), batch_first, enforce_sorted=False
    )
    y, final = peer(packed, states)
    size = x.shape[1 if batch_first else 0]
    return utilities.pad_packed_sequence(y, batch_first, total_length=size)[0], final


@pytest.mark.peer
@pytest.mark.parametrize("name", TABLE)
def test_values_and_gradients_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    kind, settings, lengths, with_states = TABLE[name]
    peer = getattr(torch.nn, kind)(3, 4, **settings)
    before = filled(peer)
    ours = getattr(nn, kind)(3, 4, **settings)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in before.items()
    }
    assert list(ours.state_dict()) == list(before)
    batch_first = settings.get("batch_first", False)
    batch = 3 if lengths is None else len(lengths)
    x = normal(batch, 5, 3) if batch_first else normal(5, batch, 3)
    rows = peer.num_layers * (2 if peer.bidirectional else 1)
    n_states = 2 if kind == "LSTM" else 1
    states = [normal(rows, batch, 4, seed=7 + i) for i in range(n_states)] if with_states else []
    peer = peer.double()
    given = [torch.from_numpy(v).double().requires_grad_() for v in (x, *states)]
    packed = None if not states else tuple(given[1:]) if n_states == 2 else given[1]
    y, final = run_peer(peer, given[0], packed, lengths, batch_first)
    wanted = [y, *leaves(final)]
    cotangents = [normal(*v.shape, seed=20 + i) for i, v in enumerate(wanted)]
    sum((v * torch.from_numpy(g)).sum() for v, g in zip(wanted, cotangents, strict=True)).backward()

    def inner(layer, x, *states):
        hx = None if not states else states if n_states == 2 else states[0]
        y, final = layer(x, hx, lengths)
        found = [y, *leaves(final)]
        return sum((v * g).sum() for v, g in zip(found, cotangents, strict=True)), found

    places = tuple(range(2 + len(states)))
    for engine in ENGINES if name in COMPILED else ENGINES[:1]:
        ours.load_state_dict(before)
        made = cr.compile(cr.value_and_grad(inner, argnums=places, has_aux=True), engine=engine)
        (_, found), (grads, *by_input) = made(ours, x, *states)
        for v, g in zip(found, wanted, strict=True):
            close(v, g.detach(), f"{engine}: an output", 2e-5)
        for gradient, v in zip(by_input, given, strict=True):
            close(gradient, v.grad, f"{engine}: the gradient of an input", 2e-5)
        for key, parameter in peer.named_parameters():
            close(grads[key], parameter.grad, f"{engine}: the gradient of {key}", 2e-5)


CELLS = {
    "RNNCell": {},
    "RNNCell, relu": {"nonlinearity": "relu"},
    "LSTMCell": {},
    "GRUCell": {},
    "GRUCell, no bias": {"bias": False},
}


@pytest.mark.peer
@pytest.mark.parametrize("name", CELLS)
def test_cells_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    kind, settings = name.split(",")[0], CELLS[name]
    peer = getattr(torch.nn, kind)(3, 4, **settings)
    ours = getattr(nn, kind)(3, 4, **settings)
    ours.load_state_dict(filled(peer))
    x, states = normal(2, 3), [normal(2, 4, seed=i) for i in range(2 if "LSTM" in name else 1)]
    hx = [torch.from_numpy(s) for s in states]
    wanted = peer(torch.from_numpy(x), tuple(hx) if len(hx) > 1 else hx[0])
    found = ours(x, states if len(states) > 1 else states[0])
    for v, w in zip(leaves(found), leaves(wanted), strict=True):
        close(v, w.detach(), "a state", 1e-5)
    for v, w in zip(leaves(ours(x[0])), leaves(peer(torch.from_numpy(x[0]))), strict=True):
        close(v, w.detach(), "one sample from zeros", 1e-5)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_is_its_cell_step_by_step(kind):
    layer, cell = getattr(nn, kind)(3, 4), getattr(nn, f"{kind}Cell")(3, 4)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, state = normal(4, 2, 3), None
    outputs = []
    for step in x:
        state = cell(step, state)
        outputs.append(leaves(state)[0].numpy())
    y, final = layer(x)
    close(y, np.stack(outputs), "outputs", 1e-6)
    for v, w in zip(leaves(final), leaves(state), strict=True):
        close(v[0], w, "the last state", 1e-6)
    close(layer(x[:, 0])[0], y[:, 0], "one sequence", 1e-6)


def test_a_start_is_drawn_evenly_within_pytorchs_bound():
    layer = nn.LSTM(40, 25)
    for value in layer.parameters():
        numbers = value.numpy()
        assert np.abs(numbers).max() <= 0.2
        assert abs(numbers.std() - 0.2 / np.sqrt(3)) < 0.02


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_padding_plays_no_part(kind):
    layer = getattr(nn, kind)(3, 4, bidirectional=True)
    x, lengths = normal(5, 3, 3), LENGTHS
    y, final = layer(x, lengths=lengths)
    for i, n in enumerate(lengths):
        alone, end = layer(x[:n, i])
        close(y[:n, i], alone, "outputs", 1e-6)
        assert (y[n:, i].numpy() == 0).all()
        for v, w in zip(leaves(final), leaves(end), strict=True):
            close(v[:, i], w, "the last state", 1e-6)
    by_input = cr.grad(lambda x: (layer(x, lengths=lengths)[0] ** 2).sum())(x).numpy()
    assert (by_input[3:, 0] == 0).all()
    assert (by_input[1:, 2] == 0).all()
    start = normal(2, 3, 4)  # a sequence of no steps keeps it
    hx = (start, start) if kind == "LSTM" else start
    _, kept = layer(x, hx, np.zeros(3, int))
    np.testing.assert_array_equal(leaves(kept)[0].numpy(), start)


def test_peepholes_let_the_gates_see_the_memory():
    layer = nn.LSTM(3, 4, peephole=True)
    w = {k: v.numpy() for k, v in layer.state_dict().items()}
    assert w["weight_peephole_l0"].shape == (3, 4)
    x, h, c = normal(4, 2, 3), np.zeros((2, 4)), np.zeros((2, 4))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    p_i, p_f, p_o = w["weight_peephole_l0"]
    for step in x:
        total = step @ w["weight_ih_l0"].T + h @ w["weight_hh_l0"].T
        i, f, g, o = np.split(total + w["bias_ih_l0"] + w["bias_hh_l0"], 4, axis=1)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
        h = sigmoid(o + p_o * c) * np.tanh(c)
    close(layer(x)[1][0][0], h, "the last state", 1e-6)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_gradients_agree_with_differences(kind):
    settings = {"peephole": True} if kind == "LSTM" else {}
    layer = getattr(nn, kind)(2, 2, **settings).astype("float64")
    x = normal(2, 2, 2).astype(np.float64)
    probe = normal(2, 2, 2, seed=9)
    lengths = np.array([2, 1])
    cr.check_gradients(lambda m, x: (m(x, None, lengths)[0] * probe).sum(), (layer, x))


def test_derivatives_of_many_sequences_agree_with_differences():
    layer = nn.GRU(2, 2).astype("float64")
    x, probe = normal(3, 16, 2).astype(np.float64), normal(3, 16, 2, seed=9)
    lengths = np.arange(16) % 4

    def function(factor):
        return (layer(x * factor, None, lengths)[0] * probe).sum()

    cr.check_gradients(function, (1.5,))
    cr.check_gradients(function, (1.5,), order=2)


def test_second_derivatives_agree_with_differences():
    x = normal(2, 1, 2).astype(np.float64)
    for layer in (nn.LSTM(2, 2), nn.GRU(2, 2)):
        layer.astype("float64")
        cr.check_gradients(lambda x, layer=layer: layer(x)[0], (x,), order=2)


def test_dropout_acts_between_layers_only():
    layer = nn.GRU(3, 8, num_layers=2, dropout=0.5)
    x = normal(4, 2, 3)
    (_, one), (_, other) = layer(x), layer(x)
    np.testing.assert_array_equal(one[0].numpy(), other[0].numpy())
    assert np.abs(one[1].numpy() - other[1].numpy()).max() > 1e-3
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_compiled_step_learns_the_first_number(engine):
    class Reader(nn.Module):
        def __init__(self):
            self.memory = nn.GRU(1, 8, batch_first=True)
            self.head = nn.Linear(8, 1)

        def forward(self, x):
            return self.head(self.memory(x)[1][0])

    def step(model, optimizer, x):
        def loss(model):
            return ((model(x) - x[:, 0]) ** 2).mean()

        value, grads = cr.value_and_grad(loss)(model)
        optimizer.update(model, grads)
        return value

    order = np.arange(640).reshape(80, 8) % 32
    data = normal(32, 3, 1)
    losses = cr.run_steps(step, (Reader(), optim.Adam(0.03)), (data,), order, engine=engine)
    assert losses[-8:].mean() < 0.7 * losses[:8].mean()


X = normal(5, 2, 3)
WRONG = {
    "features": (lambda: nn.LSTM(4, 2)(X), ShapeError, "steps, batch, 4"),
    "axes": (lambda: nn.RNN(3, 2, batch_first=True)(X[None]), ShapeError, "batch, steps, 3"),
    "cell": (lambda: nn.GRUCell(3, 2)(X), ShapeError, "a cell takes one step"),
    "state": (lambda: nn.GRU(3, 4)(X, normal(1, 3, 4)), ShapeError, r"\(1, 2, 4\)"),
    "one state": (lambda: nn.LSTM(3, 4)(X, normal(1, 2, 4)), ArgumentError, r"a pair \(h, c\)"),
    "lengths": (lambda: nn.RNN(3, 4)(X, lengths=[5]), ShapeError, "one length a sequence"),
    "lengths, type": (lambda: nn.RNN(3, 4)(X, lengths=[5.0, 2.0]), DtypeError, "count steps"),
    "lengths, range": (lambda: nn.RNN(3, 4)(X, lengths=[6, 2]), ArgumentError, "0 to 5 steps"),
    "dropout": (lambda: nn.GRU(3, 4, dropout=0.5), ArgumentError, "there is one layer"),
    "nonlinearity": (lambda: nn.RNN(3, 4, nonlinearity="elu"), ArgumentError, "'relu'"),
    "size": (lambda: nn.LSTM(3, 0), ArgumentError, "hidden_size must be a positive"),
    "type": (lambda: nn.LSTM(3, 4)(X.astype(np.float64)), DtypeError, "float64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name):
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


def test_steps_behind_the_longest_sequence_are_not_computed():
    cr.random.seed(2)
    layer = nn.GRU(3, 4, bidirectional=True)
    x = normal(9, 2, 3)
    x[4:] = np.nan
    y, final = layer(x, lengths=[4, 2])
    short, same = layer(x[:4], lengths=[4, 2])
    assert y.shape == (9, 2, 8)
    np.testing.assert_array_equal(y[:4].numpy(), short.numpy())
    np.testing.assert_array_equal(y[4:].numpy(), np.zeros((5, 2, 8)))
    np.testing.assert_array_equal(final.numpy(), same.numpy())
