"""The networks in PyTorch, as its users write them; parameters are named as chainrule's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.orders import named_weight


class LeNet5(nn.Module):
    """LeNet-5 with tanh and average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5, padding=2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.c3(x)), 2)
        x = torch.tanh(self.c5(x)).flatten(1)
        return self.output(torch.tanh(self.f6(x)))


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut without parameters."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.new = width - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's maps."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """The residual network for CIFAR with 20 layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [(16, 16), (16, 32), (32, 64)]
        for number, (before, width) in enumerate(widths, start=1):
            first = BasicBlock(before, width, 2 if before != width else 1)
            rest = [BasicBlock(width, width, 1) for _ in range(2)]
            setattr(self, f"layer{number}", nn.Sequential(first, *rest))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


class AllConvolutional(nn.Module):
    """The all-convolutional network for digits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in [
            (1, 24, 1), (24, 24, 1), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1),
        ]:  # fmt: skip
            convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Conv2d(96, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.dropout(self.features(x))).mean((2, 3))


def wide_mlp() -> nn.Sequential:
    """784-1024-1024-1024-10 with dropout, layers numbered as chainrule's."""
    layers: list[nn.Module] = [nn.Identity(), nn.Flatten()]
    for before, after, share in [(784, 1024, 0.2), *[(1024, 1024, 0.5)] * 2]:
        layers += [nn.Dropout(share), nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(1024, 10))


def _normed(before: int, after: int, size: int, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, size, 1, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """MobileNetV2's block of 32 channels, widened six times."""

    def __init__(self) -> None:
        super().__init__()
        narrow = nn.Conv2d(192, 32, 1, bias=False)
        self.conv = nn.Sequential(
            _normed(32, 192, 1), _normed(192, 192, 3, 192), narrow, nn.BatchNorm2d(32)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's maps."""
        return x + self.conv(x)


class CharRNN(nn.Module):
    """Embedding, a recurrent layer, a logit for each character."""

    def __init__(self, layer: Callable[..., nn.Module], hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(65, hidden)
        self.rnn = layer(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 65)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits at every place."""
        return self.head(self.rnn(self.embedding(tokens))[0])


class Block(nn.Module):
    """Attention and two layers, each behind a norm; with a cache, one place at a time."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = (nn.LayerNorm(128, bias=bias) for _ in range(2))

        def layers(first: str, width: int, middle: int) -> nn.ModuleDict:
            wide = nn.Linear(128, width, bias)
            return nn.ModuleDict({first: wide, "c_proj": nn.Linear(middle, 128, bias)})

        self.attn, self.mlp = layers("c_attn", 384, 128), layers("c_fc", 512, 512)

    def forward(self, x: torch.Tensor, cache: Any = None, place: int = 0) -> torch.Tensor:
        """The sequence after the block; ``cache`` holds keys and values of earlier places."""
        parts = self.attn["c_attn"](self.ln_1(x)).split(128, dim=2)
        q, k, v = (p.view(*p.shape[:2], 4, 32).transpose(1, 2) for p in parts)
        if cache is not None:
            cache[0][:, :, place], cache[1][:, :, place] = k[:, :, 0], v[:, :, 0]
            k, v = cache[0][:, :, : place + 1], cache[1][:, :, : place + 1]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        x = x + self.attn["c_proj"](y.transpose(1, 2).reshape(x.shape))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class GPT(nn.Module):
    """Four blocks of width 128; a head that is the embedding's table, or one of its own."""

    def __init__(self, bias: bool = True, tied: bool = False) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(65, 128), nn.Embedding(64, 128)
        self.h = nn.ModuleList([Block(bias) for _ in range(4)])
        self.ln_f = nn.LayerNorm(128, bias=bias)
        self.lm_head = nn.Linear(128, 65, bias=False)
        if tied:
            self.lm_head.weight = self.wte.weight
        self.register_buffer("places", torch.arange(64), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits at every place."""
        x = self.wte(tokens) + self.wpe(self.places[: tokens.shape[1]])
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))

    def next_logits(self, token: torch.Tensor, caches: list[Any], place: int) -> torch.Tensor:
        """Logits of what follows a token at ``place``; ``caches`` are written."""
        x = self.wte(token) + self.wpe.weight[place]
        for block, cache in zip(self.h, caches, strict=True):
            x = block(x, cache, place)
        return self.lm_head(self.ln_f(x[:, -1]))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": LeNet5,
    "resnet20": ResNet20,
    "char_lstm": lambda: CharRNN(nn.LSTM, 256),
    "char_gru": lambda: CharRNN(nn.GRU, 128),
    "gpt": GPT,
    "mobilenet_block": InvertedResidual,
}


def build(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network with its given weights."""
    model = MODELS[name]()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(named_weight(path, tuple(parameter.shape))))
    return model.to(dtype)


def as_tensors(arrays: dict[str, np.ndarray], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Operands as tensors."""
    return {name: torch.from_numpy(x).to(dtype) for name, x in arrays.items()}
