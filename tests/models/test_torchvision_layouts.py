"""State dicts of torchvision's layout load: names, shapes and outputs are torch's.

torchvision is not needed: its networks are rebuilt here, small, from torch's layers.
"""

from collections import OrderedDict

import numpy as np
import pytest

import chainrule as cr
from chainrule import models
from chainrule.models import resnet
from chainrule.models.densenet import DenseBlock, Transition
from chainrule.models.googlenet import Inception
from chainrule.models.mobilenet import InvertedResidual

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")
T = torch.nn


def conv(before, after, kernel, stride=1, **more):
    return T.Conv2d(before, after, kernel, stride, kernel // 2, bias=False, **more)


class Basic(T.Module):
    expansion = 1

    def __init__(self, before, width, stride=1, downsample=None):
        super().__init__()
        self.conv1, self.bn1 = conv(before, width, 3, stride), T.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), T.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Neck(T.Module):
    expansion = 4

    def __init__(self, before, width, stride=1, downsample=None):
        super().__init__()
        self.conv1, self.bn1 = conv(before, width, 1), T.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), T.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), T.BatchNorm2d(4 * width)
        self.downsample = downsample

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(y)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Residual(T.Module):
    def __init__(self, block, blocks, classes, width):
        super().__init__()
        self.conv1, self.bn1 = T.Conv2d(3, width, 7, 2, 3, bias=False), T.BatchNorm2d(width)
        before = width
        for stage, n in enumerate(blocks):
            inner, stride = width * 2**stage, 1 if stage == 0 else 2
            after = inner * block.expansion
            down = None
            if stride != 1 or before != after:
                down = T.Sequential(conv(before, after, 1, stride), T.BatchNorm2d(after))
            rest = [block(after, inner) for _ in range(n - 1)]
            setattr(
                self, f"layer{stage + 1}", T.Sequential(block(before, inner, stride, down), *rest)
            )
            before = after
        self.fc = T.Linear(before, classes)

    def forward(self, x):
        x = T.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Features(T.Module):
    """VGG and AlexNet: features, pooled bins, classifier."""

    def __init__(self, features, bins, classifier):
        super().__init__()
        self.features, self.avgpool, self.classifier = features, bins, classifier

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def torch_vgg(stages, channels, hidden, classes, batch_norm):
    layers, before = [], 3
    for n, width in zip(stages, channels, strict=True):
        for _ in range(n):
            layers.append(T.Conv2d(before, width, 3, padding=1))
            layers += [T.BatchNorm2d(width)] * batch_norm
            layers.append(T.ReLU())
            before = width
        layers.append(T.MaxPool2d(2, 2))
    head = [T.Linear(before * 49, hidden), T.ReLU(), T.Dropout(), T.Linear(hidden, hidden)]
    head += [T.ReLU(), T.Dropout(), T.Linear(hidden, classes)]
    return Features(T.Sequential(*layers), T.AdaptiveAvgPool2d(7), T.Sequential(*head))


class ConvNormReLU6(T.Sequential):
    def __init__(self, before, after, kernel, stride=1, groups=1):
        layers = conv(before, after, kernel, stride, groups=groups), T.BatchNorm2d(after)
        super().__init__(*layers, T.ReLU6())


class Inverted(T.Module):
    def __init__(self, before, after, stride, expansion):
        super().__init__()
        inner = before * expansion
        widen = [ConvNormReLU6(before, inner, 1)] if expansion != 1 else []
        filters = ConvNormReLU6(inner, inner, 3, stride, inner)
        narrow = conv(inner, after, 1), T.BatchNorm2d(after)
        self.conv = T.Sequential(*widen, filters, *narrow)
        self.adds = stride == 1 and before == after

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class Mobile(T.Module):
    def __init__(self, stages, classes, width):
        super().__init__()
        before = models.mobilenet.eighths(32 * width)
        layers = [ConvNormReLU6(3, before, 3, 2)]
        for expansion, channels, n, stride in stages:
            after = models.mobilenet.eighths(channels * width)
            for i in range(n):
                layers.append(Inverted(before, after, stride if i == 0 else 1, expansion))
                before = after
        self.features = T.Sequential(*layers, ConvNormReLU6(before, 1280, 1))
        self.classifier = T.Sequential(T.Dropout(0.2), T.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Dense(T.Module):
    def __init__(self, before, growth):
        super().__init__()
        self.norm1, self.relu1 = T.BatchNorm2d(before), T.ReLU()
        self.conv1 = conv(before, 4 * growth, 1)
        self.norm2, self.relu2 = T.BatchNorm2d(4 * growth), T.ReLU()
        self.conv2 = conv(4 * growth, growth, 3)

    def forward(self, maps):
        x = self.conv1(self.relu1(self.norm1(torch.cat(maps, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class Block(T.ModuleDict):
    def __init__(self, n, before, growth):
        super().__init__()
        for i in range(n):
            self[f"denselayer{i + 1}"] = Dense(before + i * growth, growth)

    def forward(self, x):
        maps = [x]
        for layer in self.values():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class DenselyConnected(T.Module):
    def __init__(self, blocks, classes, growth, width):
        super().__init__()
        layers = [("conv0", T.Conv2d(3, width, 7, 2, 3, bias=False))]
        layers += [("norm0", T.BatchNorm2d(width)), ("relu0", T.ReLU())]
        layers += [("pool0", T.MaxPool2d(3, 2, 1))]
        for i, n in enumerate(blocks, 1):
            layers.append((f"denseblock{i}", Block(n, width, growth)))
            width += n * growth
            if i < len(blocks):
                layers.append((f"transition{i}", torch_transition(width)))
                width //= 2
        layers.append(("norm5", T.BatchNorm2d(width)))
        self.features = T.Sequential(OrderedDict(layers))
        self.classifier = T.Linear(width, classes)

    def forward(self, x):
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


def torch_transition(width):
    layers = {"norm": T.BatchNorm2d(width), "relu": T.ReLU()}
    layers["conv"], layers["pool"] = conv(width, width // 2, 1), T.AvgPool2d(2, 2)
    return T.Sequential(OrderedDict(layers))


class BasicConv(T.Module):
    def __init__(self, before, after, kernel):
        super().__init__()
        self.conv, self.bn = conv(before, after, kernel), T.BatchNorm2d(after, eps=0.001)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Branches(T.Module):
    def __init__(self, before, one, reduce3, three, reduce5, five, pool):
        super().__init__()
        self.branch1 = BasicConv(before, one, 1)
        self.branch2 = T.Sequential(BasicConv(before, reduce3, 1), BasicConv(reduce3, three, 3))
        self.branch3 = T.Sequential(BasicConv(before, reduce5, 1), BasicConv(reduce5, five, 3))
        self.branch4 = T.Sequential(T.MaxPool2d(3, 1, 1), BasicConv(before, pool, 1))

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.children()], 1)


STAGES = ((1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 1, 2))
PAIRS = {
    "ResNet of basic blocks": (
        lambda: models.ResNet(resnet.BasicBlock, (2, 1, 1, 2), 7, width=8),
        lambda: Residual(Basic, (2, 1, 1, 2), 7, 8),
        (3, 48, 40),
    ),
    "ResNet of bottlenecks": (
        lambda: models.ResNet(resnet.Bottleneck, (1, 2, 1, 1), 7, width=4),
        lambda: Residual(Neck, (1, 2, 1, 1), 7, 4),
        (3, 40, 48),
    ),
    "VGG": (
        lambda: models.VGG((1, 2), 5, channels=(4, 6), hidden=8),
        lambda: torch_vgg((1, 2), (4, 6), 8, 5, False),
        (3, 28, 31),
    ),
    "VGG with batch norm": (
        lambda: models.VGG((2, 1), 5, batch_norm=True, channels=(4, 6), hidden=8),
        lambda: torch_vgg((2, 1), (4, 6), 8, 5, True),
        (3, 28, 28),
    ),
    "MobileNetV2": (
        lambda: models.MobileNetV2(5, width=0.5, stages=STAGES),
        lambda: Mobile(STAGES, 5, 0.5),
        (3, 32, 30),
    ),
    "inverted residual": (
        lambda: InvertedResidual(4, 4, 1, 6),
        lambda: Inverted(4, 4, 1, 6),
        (4, 7, 6),
    ),
    "DenseNet": (
        lambda: models.DenseNet((2, 3), 5, growth=4, width=6),
        lambda: DenselyConnected((2, 3), 5, 4, 6),
        (3, 40, 40),
    ),
    "dense block": (lambda: DenseBlock(3, 4, 2), lambda: Block(3, 4, 2), (4, 6, 5)),
    "transition": (lambda: Transition(6), lambda: torch_transition(6), (6, 8, 6)),
    "inception block": (
        lambda: Inception((4, 3, 2, 5, 1, 2, 3), True),
        lambda: Branches(4, 3, 2, 5, 1, 2, 3),
        (4, 9, 8),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_names_shapes_and_outputs_are_torchs(name):
    make, make_twin, shape = PAIRS[name]
    cr.random.seed(0)
    torch.manual_seed(0)
    model, twin = make().eval(), make_twin()
    with torch.no_grad():
        for key, value in twin.state_dict().items():  # every entry tells
            if value.dtype.is_floating_point and value.ndim == 1:
                value.copy_(torch.rand_like(value) + 0.5 * key.endswith("var"))
    given = twin.eval().state_dict()
    mine = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert list(mine.items()) == [(key, tuple(value.shape)) for key, value in given.items()]
    model.load_state_dict(given)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("f4")
    with torch.no_grad():
        expected = twin(torch.from_numpy(x)).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-3, atol=1e-4)


# some of torchvision's names, as its files of weights hold them
NAMES = {
    "alexnet": ("features.0.weight", "features.10.bias", "classifier.1.weight",
                "classifier.4.bias", "classifier.6.weight"),
    "vgg16": ("features.28.weight", "classifier.0.weight", "classifier.3.bias",
              "classifier.6.weight"),
    "vgg16_bn": ("features.1.running_mean", "features.41.num_batches_tracked"),
    "googlenet": ("conv1.conv.weight", "conv3.bn.running_var",
                  "inception3a.branch2.1.conv.weight", "inception5b.branch4.1.bn.bias",
                  "fc.weight"),
    "resnet18": ("bn1.num_batches_tracked", "layer2.0.downsample.0.weight",
                 "layer4.1.bn2.running_var", "fc.bias"),
    "resnet50": ("layer1.0.downsample.1.running_mean", "layer3.5.conv3.weight"),
    "densenet121": ("features.conv0.weight", "features.denseblock4.denselayer16.conv2.weight",
                    "features.transition3.norm.running_mean", "features.norm5.bias",
                    "classifier.weight"),
    "mobilenet_v2": ("features.1.conv.0.0.weight", "features.1.conv.2.running_var",
                     "features.17.conv.3.weight", "features.18.1.weight", "classifier.1.bias"),
}  # fmt: skip
COUNTS = {"alexnet": 16, "vgg16": 32, "vgg16_bn": 97, "resnet18": 122, "resnet50": 320,
          "densenet121": 727, "mobilenet_v2": 314, "googlenet": 344}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_whole_models_have_torchvisions_names(name):
    paths = [path for path, _, _ in models.create(name).named_state()]
    assert not set(NAMES[name]) - set(paths)
    assert len(paths) == COUNTS[name]


def test_the_auxiliary_heads_have_torchvisions_names():
    paths = {path for path, _, _ in models.googlenet(aux_logits=True).named_state()}
    assert {"aux1.conv.conv.weight", "aux1.fc1.weight", "aux2.fc2.bias"} <= paths
