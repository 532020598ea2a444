"""Floor 4: named architectures, each in one file that reads like the figure it comes from."""

from chainrule.models.alexnet import AlexNet, ZFNet, alexnet, alexnet_2012, zfnet
from chainrule.models.lenet import LeNet5, lenet5, lenet5_1998
from chainrule.models.mlp import ACTIVATIONS, MLP
from chainrule.models.registry import Architecture, architecture, create, names, register
from chainrule.models.vgg import (
    VGG,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "VGG",
    "AlexNet",
    "Architecture",
    "LeNet5",
    "ZFNet",
    "alexnet",
    "alexnet_2012",
    "architecture",
    "create",
    "lenet5",
    "lenet5_1998",
    "names",
    "register",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "zfnet",
]
