"""Convolutions and poolings of random geometry agree with PyTorch's, forward and gradients."""

import numpy as np
import pytest
from layer_agreement import agree_with_torch, normal

from chainrule import nn

pytestmark = [pytest.mark.slow, pytest.mark.peer]


def numbers(rng, axes, low, high):
    return tuple(int(n) for n in rng.integers(low, high, axes))


def convolution(rng, axes):
    groups = int(rng.choice([1, 1, 2, 4]))
    channels = groups * int(rng.integers(1, 14))
    groups = channels if rng.random() < 0.15 else groups  # depthwise
    out = groups * int(rng.integers(1, 14 if groups < 5 else 3))
    kernel, stride, dilation = (numbers(rng, axes, 1, top) for top in (5, 4, 3))
    settings = {
        "stride": stride,
        "padding": tuple(int(rng.integers(0, k + 1)) for k in kernel),
        "dilation": dilation,
        "groups": groups,
        "bias": bool(rng.random() < 0.7),
    }
    kind = f"Conv{axes}d"
    if rng.random() < 0.25:
        kind = f"ConvTranspose{axes}d"
        tops = [max(s, d) for s, d in zip(stride, dilation, strict=True)]
        settings["output_padding"] = tuple(int(rng.integers(0, top)) for top in tops)
    return kind, (channels, out, kernel), settings, channels


def pooling(rng, axes):
    kernel, stride = numbers(rng, axes, 1, 5), numbers(rng, axes, 1, 4)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    ceil = bool(rng.random() < 0.5)
    kind = str(rng.choice(["MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool"]))
    arguments, settings = (kernel, stride, padding), {"ceil_mode": ceil}
    if kind == "AvgPool":
        settings["count_include_pad"] = bool(rng.random() < 0.5)
    elif kind != "MaxPool":
        arguments, settings = (numbers(rng, axes, 1, 7),), {}
    return f"{kind}{axes}d", arguments, settings, int(rng.integers(1, 9))


@pytest.mark.parametrize("draw", [convolution, pooling], ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("seed", range(8))
def test_a_random_geometry(draw, seed):
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    rng, tried = np.random.default_rng(seed), 0
    while tried < 10:
        axes = int(rng.integers(1, 4))
        kind, arguments, settings, channels = draw(rng, axes)
        spatial = numbers(rng, axes, 6, 16 if axes < 3 else 9)
        x = normal(int(rng.integers(1, 6)), channels, *spatial, seed=tried)
        peer = getattr(torch.nn, kind)(*arguments, **settings)
        try:
            fits = min(peer(torch.from_numpy(x)).shape) > 0
        except RuntimeError:  # larger than the input
            continue
        if fits:
            tried += 1
            agree_with_torch(getattr(nn, kind)(*arguments, **settings), peer, x)
