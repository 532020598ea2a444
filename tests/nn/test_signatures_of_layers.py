"""Layers that PyTorch has take its arguments: names, order and defaults, ``eps`` spelled out."""

import inspect

import pytest

from chainrule import nn

SPELLED = {"eps": "epsilon", "layer_norm_eps": "layer_norm_epsilon"}
#: what has no meaning here: values never change in place, there are no devices
ABSENT = {"device", "dtype", "inplace", "return_indices", "recompute_scale_factor"}
#: what single layers do without
LEFT_OUT = {
    "ConvTranspose1d": {"padding_mode"},  # PyTorch, too, takes zeros only
    "ConvTranspose2d": {"padding_mode"},
    "ConvTranspose3d": {"padding_mode"},
    "Embedding": {"max_norm", "norm_type", "scale_grad_by_freq", "sparse", "_weight", "_freeze"},
    "Hardtanh": {"min_value", "max_value"},  # old names of min_val and max_val
    "MultiheadAttention": {"add_bias_kv", "add_zero_attn"},
    "TransformerEncoder": {"enable_nested_tensor", "mask_check"},
}
#: defaults of ours that differ
DIFFERENT = {
    ("Upsample", "align_corners"): False,  # PyTorch's None means the same
    ("Softmax", "dim"): -1,  # PyTorch's None picks an axis by the rank, and warns
    ("LogSoftmax", "dim"): -1,
    ("TransformerEncoderLayer", "activation"): "relu",  # PyTorch's is the function
    ("TransformerDecoderLayer", "activation"): "relu",
}
LAYERS = sorted(
    name
    for name in nn.__all__
    if inspect.isclass(getattr(nn, name))
    and issubclass(getattr(nn, name), nn.Module)
    and not issubclass(getattr(nn, name), nn.Loss)
)


def arguments(layer):
    found = inspect.signature(layer.__init__).parameters.values()
    return {p.name: p.default for p in found if p.name != "self"}


@pytest.mark.peer
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_pytorchs_arguments(name):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.nn, name):
        pytest.skip("PyTorch has no such layer")
    theirs = arguments(getattr(torch.nn, name))
    if {"args", "arguments"} & theirs.keys():
        pytest.skip("it takes anything")
    ours = arguments(getattr(nn, name))
    wanted = {
        SPELLED.get(k, k): v
        for k, v in theirs.items()
        if k not in ABSENT | LEFT_OUT.get(name, set())
    }
    shared = [k for k in ours if k in wanted]
    assert shared == list(wanted), "names and order"
    for key, default in wanted.items():
        assert ours[key] == DIFFERENT.get((name, key), default), key


def test_the_table_of_layers_is_long_enough():
    assert len(LAYERS) > 80
