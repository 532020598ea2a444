"""Transformer layers and stacks: PyTorch's numbers, causes, modes, derivatives."""

import numpy as np
import pytest
from layer_agreement import ENGINES, close, normal

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(2)


LEFT_OUT = np.array([[False, False, True, True], [False, True, False, False]])
LATER = np.triu(np.ones((4, 4), bool), 1)
# settings, layers (0: the layer alone), mask of the future, padding
TABLE = {
    "post-norm": ({}, 0, False, False),
    "pre-norm": ({"norm_first": True, "activation": "gelu"}, 0, True, False),
    "batch first": ({"batch_first": True, "layer_norm_eps": 0.1}, 0, False, True),
    "no bias": ({"bias": False, "norm_first": True}, 0, True, True),
    "stack": ({}, 2, True, True),
}
COMPILED = ("no bias",)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
@pytest.mark.parametrize("name", TABLE)
def test_values_and_gradients_agree_with_pytorch(name, kind):
    torch = pytest.importorskip("torch")
    settings, n_layers, causal, padded = TABLE[name]
    spelled = {k.replace("_eps", "_epsilon"): v for k, v in settings.items()}
    peer = getattr(torch.nn, f"Transformer{kind}Layer")(6, 2, 8, 0.0, **settings)
    ours = getattr(nn, f"Transformer{kind}Layer")(6, 2, 8, 0.0, **spelled)
    if n_layers:
        peer = getattr(torch.nn, f"Transformer{kind}")(peer, n_layers, torch.nn.LayerNorm(6))
        ours = getattr(nn, f"Transformer{kind}")(ours, n_layers, nn.LayerNorm(6))
    with torch.no_grad():
        for seed, value in enumerate(peer.parameters()):
            value.copy_(torch.from_numpy(normal(*value.shape, seed=seed)))
    before = {k: v.detach().clone() for k, v in peer.state_dict().items()}
    assert list(ours.state_dict()) == list(before)
    inputs = [normal(4, 2, 6), normal(4, 2, 6, seed=1)][: 1 if kind == "Encoder" else 2]
    if settings.get("batch_first"):
        inputs = [x.swapaxes(0, 1).copy() for x in inputs]
    mask = "tgt_mask" if kind == "Decoder" else "mask" if n_layers else "src_mask"
    padding = "memory_key_padding_mask" if kind == "Decoder" else "src_key_padding_mask"
    call = {mask: LATER} if causal else {}
    call |= {padding: LEFT_OUT} if padded else {}
    given = [torch.from_numpy(x).double().requires_grad_() for x in inputs]
    wanted = peer.double()(*given, **{k: torch.from_numpy(v) for k, v in call.items()})
    cotangent = normal(*wanted.shape, seed=5)
    (wanted * torch.from_numpy(cotangent)).sum().backward()

    def inner(layer, *xs):
        y = layer(*xs, **call)
        return (y * cotangent).sum(), y

    places = tuple(range(1 + len(inputs)))
    for engine in ENGINES if name in COMPILED else ENGINES[:1]:
        ours.load_state_dict(before)
        made = cr.compile(cr.value_and_grad(inner, argnums=places, has_aux=True), engine=engine)
        (_, y), (grads, *by_input) = made(ours, *inputs)
        close(y, wanted.detach(), f"{engine}: the output", 5e-5)
        for x, gradient in zip(given, by_input, strict=True):
            close(gradient, x.grad, f"{engine}: the gradient of an input", 2e-4)
        for key, parameter in peer.named_parameters():
            close(grads[key], parameter.grad, f"{engine}: the gradient of {key}", 2e-4)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_causal_stack_does_not_see_the_future(norm_first):
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=norm_first)
    stack = nn.TransformerEncoder(layer, 2).eval()
    x = normal(2, 4, 6)
    whole = stack(x, is_causal=True)
    close(whole, stack(x, mask=LATER), "by a mask", 1e-6)
    close(whole[:, :2], stack(x[:, :2], is_causal=True), "the start", 1e-6)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8, batch_first=True), 2).eval()
    memory = normal(2, 3, 6, seed=1)
    whole = decoder(x, memory, tgt_is_causal=True)
    close(whole[:, :2], decoder(x[:, :2], memory, tgt_is_causal=True), "the start", 1e-6)


def test_layers_of_a_stack_begin_equal_but_are_not_tied():
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8), 2)
    first, second = (layer.linear1.weight for layer in stack.layers)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert len(dict(stack.named_parameters())) == 24


def test_dropout_is_at_work_while_training():
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.5)
    x = normal(4, 2, 6)
    assert np.abs(layer(x).numpy() - layer(x).numpy()).max() > 0.1
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), layer(x).numpy())


def test_gradients_agree_with_differences():
    layer = nn.TransformerDecoderLayer(3, 1, 2, 0.0, activation=cr.tanh).astype("float64")
    x, memory = normal(2, 1, 3).astype(np.float64), normal(2, 1, 3, seed=1).astype(np.float64)
    probe = normal(2, 1, 3, seed=9)
    cr.check_gradients(
        lambda x, memory: (layer(x, memory, tgt_is_causal=True) * probe).sum(), (x, memory)
    )


def test_wrong_settings_are_told():
    with pytest.raises(ArgumentError, match="'gelu'"):
        nn.TransformerEncoderLayer(6, 2, activation="swish")
    with pytest.raises(ArgumentError, match="num_layers"):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8), 0)
    with pytest.raises(TypeError, match="layer_norm_eps= is spelled layer_norm_epsilon= here"):
        nn.TransformerDecoderLayer(6, 2, layer_norm_eps=1e-6)
