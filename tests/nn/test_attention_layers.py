"""Attention: PyTorch's numbers under masks, groups and causes; derivatives; messages."""

import numpy as np
import pytest
from layer_agreement import ENGINES, close, normal

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.nn import functional as F


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(2)


def chance(*shape, p=0.6, seed=3):
    """Bools of which the first of each row is True, so that no row is empty."""
    kept = np.random.default_rng(seed).random(shape) < p
    kept[..., 0] = True
    return kept


def compare(peer, ours, inputs, function, engine):
    """Outputs and gradients of a function of Arrays against PyTorch's, in float32 inputs."""
    import torch

    given = [torch.from_numpy(x).double().requires_grad_() for x in inputs]
    wanted = peer(*given)
    cotangent = normal(*wanted.shape, seed=5)
    (wanted * torch.from_numpy(cotangent)).sum().backward()

    def inner(*xs):
        y = function(*xs)
        return (y * cotangent).sum(), y

    places = tuple(range(len(inputs)))
    made = cr.compile(cr.value_and_grad(inner, argnums=places, has_aux=True), engine=engine)
    (_, y), grads = made(*inputs)
    close(y, wanted.detach(), "the output", 2e-5)
    for name, gradient, x in zip(ours, grads, given, strict=True):
        close(gradient, x.grad, f"the gradient of {name}", 2e-5)


# leading axes and heads, keys' heads, queries, keys, settings
FUNCTIONS = {
    "plain": ((2, 3), 3, 4, 5, {}),
    "one sequence": ((), None, 4, 5, {}),
    "causal": ((2, 2), 2, 4, 4, {"is_causal": True}),
    "causal, more keys": ((1, 2), 2, 3, 5, {"is_causal": True}),
    "bools": ((2, 2), 2, 3, 5, {"attn_mask": chance(2, 1, 3, 5)}),
    "numbers": ((2, 2), 2, 3, 5, {"attn_mask": normal(2, 3, 5, seed=8)}),
    "scale": ((2,), 2, 3, 4, {"scale": 0.3}),
    "groups": ((2, 4), 2, 3, 5, {"enable_gqa": True}),
    "groups, masked": ((1, 4), 1, 4, 4, {"enable_gqa": True, "is_causal": True}),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_function_agrees_with_pytorch(name):
    torch = pytest.importorskip("torch")
    lead, heads, queries, keys, settings = FUNCTIONS[name]
    other = lead if heads is None else (*lead[:-1], heads)
    q, k, v = normal(*lead, queries, 6), normal(*other, keys, 6, seed=1), normal(*other, keys, 3)
    theirs = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in settings.items()
    }
    if name == "numbers":
        theirs["attn_mask"] = theirs["attn_mask"].double()

    def peer(q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, **theirs)

    def ours(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **settings)

    for engine in ENGINES if name == "groups, masked" else ENGINES[:1]:
        compare(peer, "qkv", (q, k, v), ours, engine)


MASKS = {
    "filling": (np.arange(100) < np.array([[37], [100]]))[:, None, None],
    "pairs": chance(98, 100),
    "numbers": normal(2, 98, 100, seed=8),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", MASKS)
def test_masks_in_tiles_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    mask, causal = MASKS[name], name == "numbers"
    q, k, v = normal(2, 2, 98, 16), normal(2, 2, 100, 16, seed=1), normal(2, 2, 100, 16, seed=2)
    theirs = torch.from_numpy(mask)
    if causal:
        hidden = np.where(np.tri(98, 100, dtype=bool), mask, -np.inf)
        theirs = torch.from_numpy(hidden).double()

    def peer(q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, theirs)

    def ours(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)

    compare(peer, "qkv", (q, k, v), ours, None)


def test_the_same_weights_are_dropped_whether_they_are_asked_for_or_not():
    layer = nn.MultiheadAttention(32, 2, dropout=0.4, batch_first=True)
    x, filling = normal(2, 96, 32), np.arange(96) >= np.array([[50], [96]])

    def outputs(layer, x, shown):
        return layer(x, x, x, filling, need_weights=shown)[0]

    found = []
    for engine in ENGINES:
        for shown in (True, False):
            cr.random.seed(4)
            found.append(cr.compile(outputs, engine=engine)(layer, x, shown).numpy())
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=2e-6)


def test_slopes_of_a_learned_bias_agree_with_differences():
    q, k, v = (normal(1, 2, 3, 4, seed=n).astype("float64") for n in range(3))
    bias = normal(2, 3, 3, seed=7).astype("float64")
    bias[0, 1] = -np.inf
    bias[1, :, 0] = -np.inf
    seen = np.where(np.isinf(bias), 0.0, 1.0)

    def loss(b):
        y = F.scaled_dot_product_attention(q, k, v, bias + b * seen, is_causal=True)
        return (y * y).sum() + y.sum()

    cr.check_gradients(loss, [np.zeros_like(bias)])


def test_masks_of_bools_and_of_infinities_mean_the_same():
    q, k, v = normal(2, 3, 4), normal(2, 5, 4, seed=1), normal(2, 5, 4, seed=2)
    allowed = chance(3, 5)
    allowed[1] = False  # this query sees nothing
    numbers = np.where(allowed, 0.0, -np.inf).astype(np.float32)
    for causal in (False, True):
        one = F.scaled_dot_product_attention(q, k, v, allowed, is_causal=causal)
        other = F.scaled_dot_product_attention(q, k, v, numbers, is_causal=causal)
        close(one, other, "the two", 0)
        assert (one.numpy()[:, 1] == 0).all()
    grads = cr.grad(lambda q: (F.scaled_dot_product_attention(q, k, v, allowed) ** 2).sum())(q)
    assert np.isfinite(grads.numpy()).all()


def test_dropped_weights_keep_their_mean():
    v = np.ones((1, 400, 1), np.float32)
    q, k = normal(1, 30, 4), normal(1, 400, 4, seed=1)
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).numpy()
    assert y.std() > 0.01
    assert abs(y.mean() - 1) < 0.05
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = normal(6, 3, 4)
    assert np.abs(layer(x, x, x)[0].numpy() - layer(x, x, x)[0].numpy()).max() > 0
    layer.eval()
    np.testing.assert_array_equal(layer(x, x, x)[0].numpy(), layer(x, x, x)[0].numpy())


KEYS_LEFT_OUT = np.array([[False, False, True, True], [False, True, False, False]])
KEYS_LEFT_OUT = np.concatenate([KEYS_LEFT_OUT, [[False] * 4]])
# settings of the layer, cross-attention or not, settings of the call
LAYERS = {
    "self": ({}, False, {}),
    "self, batch first": ({"batch_first": True}, False, {"average_attn_weights": False}),
    "self, no bias": ({"bias": False}, False, {}),
    "cross": ({}, True, {}),
    "cross, sizes": ({"kdim": 5, "vdim": 3, "batch_first": True}, True, {}),
    "cross, sizes, no bias": ({"kdim": 5, "bias": False}, True, {}),
    "padding": ({"batch_first": True}, False, {"key_padding_mask": KEYS_LEFT_OUT}),
    "padding, cross": ({}, True, {"key_padding_mask": KEYS_LEFT_OUT}),
    "mask": ({}, False, {"attn_mask": ~chance(4, 4)}),
    "mask of numbers": ({}, False, {"attn_mask": normal(4, 4, seed=7)}),
    "mask a head": ({}, False, {"attn_mask": ~chance(6, 4, 4)}),
    "mask and padding": (
        {},
        False,
        {"attn_mask": np.triu(np.ones((4, 4), bool), 1), "key_padding_mask": KEYS_LEFT_OUT},
    ),
    "no weights": ({}, False, {"need_weights": False}),
}
COMPILED = ("cross, sizes", "mask and padding")


@pytest.mark.peer
@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_agrees_with_pytorch(name):
    torch = pytest.importorskip("torch")
    settings, cross, call = LAYERS[name]
    peer = torch.nn.MultiheadAttention(6, 2, **settings).train()
    with torch.no_grad():
        for seed, value in enumerate(peer.parameters()):  # biases are not all 0
            value.copy_(torch.from_numpy(normal(*value.shape, seed=seed)))
    ours = nn.MultiheadAttention(6, 2, **settings)
    before = {k: v.detach().clone() for k, v in peer.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in before.items()
    }
    sizes = (6, peer.kdim, peer.vdim)
    length = (3, 4, 4) if cross else (4, 4, 4)
    inputs = [normal(n, 3, d, seed=i) for i, (n, d) in enumerate(zip(length, sizes, strict=True))]
    inputs = [x.swapaxes(0, 1).copy() if peer.batch_first else x for x in inputs][
        : 3 if cross else 1
    ]
    given = [torch.from_numpy(x).double().requires_grad_() for x in inputs]
    theirs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    if name == "mask of numbers":
        theirs["attn_mask"] = theirs["attn_mask"].double()
    wanted, shown = peer.double()(*(given if cross else given * 3), **theirs)
    cotangents = normal(*wanted.shape, seed=5), normal(*(shown.shape if shown is not None else ()))

    def total(y, weights, as_array):
        loss = (y * as_array(cotangents[0])).sum()
        return loss if weights is None else loss + (weights * as_array(cotangents[1])).sum()

    total(wanted, shown, torch.from_numpy).backward()

    def inner(layer, *xs):
        y, weights = layer(*(xs if cross else xs * 3), **call)
        return total(y, weights, np.asarray), (y, weights)

    places = tuple(range(1 + len(inputs)))
    for engine in ENGINES if name in COMPILED else ENGINES[:1]:
        ours.load_state_dict(before)
        made = cr.compile(cr.value_and_grad(inner, argnums=places, has_aux=True), engine=engine)
        (_, (y, weights)), (grads, *by_input) = made(ours, *inputs)
        close(y, wanted.detach(), f"{engine}: the output", 2e-5)
        if shown is not None:
            close(weights, shown.detach(), f"{engine}: the weights", 2e-5)
        for x, gradient in zip(given, by_input, strict=True):
            close(gradient, x.grad, f"{engine}: the gradient of an input", 5e-5)
        for key, parameter in peer.named_parameters():
            close(grads[key], parameter.grad, f"{engine}: the gradient of {key}", 5e-5)


def test_one_sequence_is_a_batch_of_one_and_weights_can_be_a_head():
    layer = nn.MultiheadAttention(6, 3)
    x = normal(4, 6)
    y, weights = layer(x, x, x, key_padding_mask=KEYS_LEFT_OUT[0], average_attn_weights=False)
    batch, shown = layer(x[:, None], x[:, None], x[:, None], key_padding_mask=KEYS_LEFT_OUT[:1])
    close(y, batch[:, 0], "the output", 1e-6)
    assert weights.shape == (3, 4, 4)
    close(weights.mean(axis=0), shown[0], "weights", 1e-6)
    close(weights.sum(axis=-1), np.ones((3, 4)), "sums", 1e-6)


def test_causes_come_before_effects():
    layer = nn.MultiheadAttention(6, 3, batch_first=True, rotary=nn.RotaryPositions())
    x = normal(1, 5, 6)
    whole, _ = layer(x, x, x, is_causal=True)
    start = x[:, :3]
    part, _ = layer(start, start, start, is_causal=True)
    close(whole[:, :3], part, "the start", 1e-6)
    mask = np.triu(np.ones((5, 5), bool), 1)
    close(whole, layer(x, x, x, attn_mask=mask)[0], "by a mask", 1e-6)


def test_shared_keys_are_those_of_repeated_heads():
    layer = nn.MultiheadAttention(8, 4, num_key_value_heads=2)
    assert layer.in_proj_weight.shape == (8 + 4 + 4, 8)
    full = nn.MultiheadAttention(8, 4)
    rows = np.arange(8)
    repeated = np.concatenate(
        [rows, *(start + np.repeat(np.arange(4).reshape(2, 2), 2, 0).ravel() for start in (8, 12))]
    )
    state = {k: v.numpy() for k, v in layer.state_dict().items()}
    state["in_proj_weight"] = state["in_proj_weight"][repeated]
    state["in_proj_bias"] = state["in_proj_bias"][repeated]
    full.load_state_dict(state)
    x, memory = normal(3, 2, 8), normal(5, 2, 8, seed=1)
    close(layer(x, memory, memory)[0], full(x, memory, memory)[0], "cross", 1e-6)
    close(layer(x, x, x)[0], full(x, x, x)[0], "self", 1e-6)


def test_gradients_agree_with_differences_twice():
    layer = nn.MultiheadAttention(2, 2, num_key_value_heads=1).astype("float64")
    x = normal(3, 2, 2).astype(np.float64)
    weights = normal(3, 2, 2, seed=9)
    left_out = KEYS_LEFT_OUT[:2, :3]

    def loss(layer, x):
        return (layer(x, x, x, key_padding_mask=left_out)[0] * weights).sum()

    cr.check_gradients(loss, (layer, x))
    q, k, v = (normal(2, 2, seed=i).astype(np.float64) for i in range(3))
    cr.check_gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (q, k, v), order=2
    )


SCORED = {
    "additive": lambda: nn.AdditiveAttention(4, 3, 5),
    "multiplicative": lambda: nn.MultiplicativeAttention(4, 3),
    "multiplicative, scaled": lambda: nn.MultiplicativeAttention(4, 3, "sqrt"),
}


def by_hand(layer, q, k, name):
    w = {key: value.numpy() for key, value in layer.state_dict().items()}
    if name == "additive":
        hidden = (q @ w["query_proj.weight"].T + w["query_proj.bias"])[:, :, None]
        hidden = np.tanh(hidden + (k @ w["key_proj.weight"].T)[:, None])
        return (hidden @ w["score.weight"].T)[..., 0]
    scores = np.einsum("bqd,kd,bsk->bqs", q, w["query_proj.weight"], k)
    return scores / np.sqrt(3) if "scaled" in name else scores


@pytest.mark.parametrize("name", SCORED)
def test_scores_by_a_formula(name):
    layer = SCORED[name]()
    q, k, v = normal(2, 3, 4), normal(2, 5, 3, seed=1), normal(2, 5, 6, seed=2)
    left_out = np.array([[False] * 5, [False, False, True, False, True]])
    scores = np.where(left_out[:, None], -np.inf, by_hand(layer, q, k, name))
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    for engine in ENGINES:
        call = cr.compile(lambda m, *xs: m(*xs), engine=engine)
        context, shown = call(layer, q, k, v, left_out)
        close(shown, weights, f"{engine}: weights", 1e-5)
        close(context, weights @ v, f"{engine}: context", 1e-5)
    context, shown = layer(q[:, 0], k)
    assert (context.shape, shown.shape) == ((2, 3), (2, 5))
    double, probe = layer.astype("float64"), normal(1, 2, 2, seed=3)

    def loss(layer, q, k, v):
        return (layer(q, k, v, left_out[1:, :3])[0] * probe).sum()

    small = (x.astype(np.float64) for x in (q[:1, :2], k[:1, :3], v[:1, :3, :2]))
    cr.check_gradients(loss, (double, *small))


def test_waves_and_learned_rows_name_places():
    x = normal(5, 2, 7)
    waves = np.zeros((5, 7))
    for t in range(5):
        for column in range(7):
            angle = t / 10000 ** (2 * (column // 2) / 7)
            waves[t, column] = np.cos(angle) if column % 2 else np.sin(angle)
    close(nn.SinusoidalPositions(7)(x), x + waves[:, None], "waves", 1e-6)
    close(nn.SinusoidalPositions(7)(x[:, 0]), x[:, 0] + waves, "one sequence", 1e-6)
    first = x.swapaxes(0, 1).copy()
    close(nn.SinusoidalPositions(7, batch_first=True)(first), first + waves, "batch", 1e-6)
    learned = nn.LearnedPositions(9, 7)
    close(learned(x), x + learned.weight.numpy()[:5, None], "learned", 1e-6)
    grads = cr.grad(lambda m: (m(x) * x).sum())(learned)
    close(grads["weight"][:5], x.sum(axis=1), "gradient", 1e-5)
    assert (grads["weight"].numpy()[5:] == 0).all()


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotated_products_depend_on_distances(interleaved):
    layer = nn.RotaryPositions(100.0, interleaved)
    q, k = (np.broadcast_to(normal(6, seed=i), (8, 6)).copy() for i in range(2))
    products = layer(q).numpy() @ layer(k).numpy().T
    for distance in range(-7, 8):
        diagonal = np.diagonal(products, distance)
        close(diagonal, np.full(diagonal.shape, diagonal[0]), f"distance {distance}", 1e-5)
    close(layer(q)[3:], layer(q[3:], offset=3), "offset", 1e-6)
    pairs = (q[:, ::2] + 1j * q[:, 1::2]) if interleaved else (q[:, :3] + 1j * q[:, 3:])
    turned = pairs * np.exp(1j * np.outer(np.arange(8), 100.0 ** (-np.arange(3) / 3)))
    parts = layer(q).numpy()
    parts = parts[:, ::2] if interleaved else parts[:, :3]
    close(parts, turned.real, "as complex numbers", 1e-6)


X = normal(4, 2, 6)
WRONG = {
    "heads": (lambda: nn.MultiheadAttention(6, 4), ArgumentError, "divisor of 6"),
    "groups": (
        lambda: nn.MultiheadAttention(8, 4, num_key_value_heads=3),
        ArgumentError,
        "divisor of 4",
    ),
    "dropout": (lambda: nn.MultiheadAttention(8, 4, dropout=1.0), ArgumentError, "Dropout: p"),
    "features": (lambda: nn.MultiheadAttention(8, 4)(X, X, X), ShapeError, "places, batch, 8"),
    "lengths": (
        lambda: nn.MultiheadAttention(6, 2)(X, X, X[:3]),
        ShapeError,
        "as many values as keys",
    ),
    "mask": (
        lambda: nn.MultiheadAttention(6, 2)(X, X, X, attn_mask=np.zeros((4, 5), bool)),
        ShapeError,
        "the mask does not fit",
    ),
    "mask, axes": (
        lambda: nn.MultiheadAttention(6, 2)(X, X, X, attn_mask=np.zeros((3, 4, 4), bool)),
        ShapeError,
        r"\(4, 4\, 4\)|\(4, 4\) or",
    ),
    "mask of integers": (
        lambda: nn.MultiheadAttention(6, 2)(X, X, X, attn_mask=np.zeros((4, 4), int)),
        DtypeError,
        "ambiguous",
    ),
    "padding": (
        lambda: nn.MultiheadAttention(6, 2)(X, X, X, key_padding_mask=np.zeros((4, 2), bool)),
        ShapeError,
        r"\(2, 4\)",
    ),
    "leading axes": (
        lambda: F.scaled_dot_product_attention(normal(4, 3, 6), normal(2, 3, 6), normal(2, 3, 6)),
        ShapeError,
        "enable_gqa=True",
    ),
    "functions' features": (
        lambda: F.attention_weights(normal(2, 3, 6), normal(2, 3, 5)),
        ShapeError,
        "the same features",
    ),
    "values": (
        lambda: F.weighted_mean(normal(2, 3, 6), normal(2, 3, 5)),
        ShapeError,
        "6, features",
    ),
    "probability": (
        lambda: F.scaled_dot_product_attention(X, X, X, dropout_p=1.0),
        ArgumentError,
        r"\[0, 1\)",
    ),
    "additive": (
        lambda: nn.AdditiveAttention(4, 3, 5)(normal(2, 4), normal(2, 5, 4)),
        ShapeError,
        "batch, keys, 3",
    ),
    "additive, padding": (
        lambda: nn.AdditiveAttention(4, 3, 5)(
            normal(2, 4), normal(2, 5, 3), None, np.zeros((2, 5))
        ),
        DtypeError,
        "bools",
    ),
    "scaling": (lambda: nn.MultiplicativeAttention(4, 3, "root"), ArgumentError, "'sqrt'"),
    "too long": (lambda: nn.LearnedPositions(3, 6)(X), ShapeError, "at most 3 places"),
    "waves": (lambda: nn.SinusoidalPositions(5)(X), ShapeError, "places, batch, 5"),
    "odd": (lambda: nn.RotaryPositions()(normal(3, 5)), ShapeError, "even number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name):
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()
