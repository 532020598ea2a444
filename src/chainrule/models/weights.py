"""How the published networks begin: weights drawn anew for a whole model at once."""

from __future__ import annotations

from collections.abc import Callable

from chainrule import nn
from chainrule.array import Array

Draw = Callable[[tuple[int, ...]], Array]


def he_fan_out(shape: tuple[int, ...]) -> Array:
    """Normal numbers of variance 2/fan_out, as torchvision draws its convolutions.

    Args:
        shape: (out, in, *kernel).
    """
    return nn.init.he_normal(shape, mode="fan_out")


def he_fan_in(shape: tuple[int, ...]) -> Array:
    """Normal numbers of variance 2/fan_in.

    Args:
        shape: (out, in, *kernel).
    """
    return nn.init.he_normal(shape)


def small_normal(shape: tuple[int, ...]) -> Array:
    """Normal numbers of standard deviation 0.01, as Krizhevsky et al. 2012 drew theirs.

    Args:
        shape: (out, in, *kernel).
    """
    return nn.init.normal(shape, standard_deviation=0.01)


def draw_weights(
    model: nn.Module, convolution: Draw | None = None, linear: Draw | None = None
) -> None:
    """Draw the weights of all layers of a kind anew; their biases become zeros.

    Nothing is computed: a parameter's value is drawn when it is first needed.

    Args:
        model: Whose layers.
        convolution: For ``Conv2d``, ``ConvTranspose2d``; None leaves them as they are.
        linear: For ``Linear``; None leaves them as they are.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            draw = convolution
        elif isinstance(module, nn.Linear):
            draw = linear
        else:
            continue
        if draw is not None:
            module.weight = nn.Parameter(draw(module.weight.shape))
        if draw is not None and module.bias is not None:
            module.bias = nn.Parameter(nn.init.zeros(module.bias.shape))
