"""What ``chainrule train`` does where it is not told otherwise: settings that suit data and model.

Options that are given win over the model's recipe for this kind of data, and that over what suits
the kind of data; what none of them says is ``Recipe``'s default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule import data, optim
from chainrule.data import Transform
from chainrule.errors import ArgumentError

# optimizer → its class and the learning rate that suits it here
OPTIMIZERS: dict[str, tuple[Any, float]] = {
    "adam": (optim.Adam, 1e-3),
    "adamw": (optim.AdamW, 1e-3),
    "nadam": (optim.NAdam, 1e-3),
    "radam": (optim.RAdam, 1e-3),
    "adamax": (optim.Adamax, 2e-3),
    "amsgrad": (optim.AMSGrad, 1e-3),
    "lamb": (optim.LAMB, 1e-2),
    "lion": (optim.Lion, 1e-4),
    "sgd": (optim.SGD, 0.1),
    "momentum": (optim.Momentum, 0.05),
    "nesterov": (optim.Nesterov, 0.05),
    "adagrad": (optim.AdaGrad, 0.01),
    "adadelta": (optim.AdaDelta, 1.0),
    "rmsprop": (optim.RMSProp, 1e-3),
    "rprop": (optim.Rprop, 1e-2),
}
AUGMENTATIONS = ("none", "digits", "clothes", "photos")
MONITORS = ("loss", "accuracy")

# what suits networks of convolutions, by kind of data
OF_CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "digits": {"augment": "digits", "optimizer": "adamw", "learning_rate": 2e-3, "epochs": 15},
    "clothes": {"augment": "clothes", "optimizer": "adamw", "learning_rate": 2e-3, "epochs": 20},
    "photos": {"augment": "photos", "optimizer": "adamw", "weight_decay": 0.05, "epochs": 30},
}
# recipes of single models, see docs/recipes.md
OF_MODELS: dict[tuple[str, str], dict[str, Any]] = {
    ("digits", "lenet5"): {"learning_rate": 3e-3, "epochs": 25},
    ("digits", "allconv"): {"learning_rate": 3e-3, "epochs": 12},
}
# what belongs to an optimizer: another one begins with its own
_OF_THE_OPTIMIZER = ("optimizer", "learning_rate", "weight_decay")


def settings(kind: str, model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training, the missing ones filled in.

    Args:
        kind: Of the data: a key of ``OF_CONVOLUTIONS``.
        model: Its name.
        given: What the user asked for; None: nothing.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    usual: dict[str, Any] = {}
    if model != "mlp":
        usual = {**OF_CONVOLUTIONS[kind], **OF_MODELS.get((kind, model), {})}
    elif kind == "photos":
        usual = {"augment": "photos"}
    other = asked.get("optimizer")
    if other is not None and other != usual.get("optimizer"):
        usual = {name: x for name, x in usual.items() if name not in _OF_THE_OPTIMIZER}
    found = {**usual, **asked}
    rate = OPTIMIZERS.get(found.get("optimizer", "adam"), (None, 1e-3))[1]
    return {"learning_rate": rate, **found}


def transforms(name: str, shape: tuple[int, ...]) -> list[Transform]:
    """The transforms of an augmentation.

    Args:
        name: One of ``AUGMENTATIONS``.
        shape: Of a sample: (channels, height, width).

    Raises:
        ArgumentError: No such name.
    """
    if name == "none":
        return []
    if name == "digits":  # what another hand could have done: no digit is mirrored
        return [data.RandomAffine(degrees=10, translate=0.07, scale=(0.9, 1.1), shear=10)]
    crop = data.RandomCrop(shape[1:], padding=max(1, min(shape[1:]) // 8))
    if name == "clothes":
        return [data.RandomHorizontalFlip(), crop]
    if name == "photos":
        return [data.RandomHorizontalFlip(), crop, data.ColorJitter()]
    raise ArgumentError(
        f"--augment does not know {name!r}", expected=", ".join(AUGMENTATIONS), got=repr(name)
    )


def image_size(model: str, published: tuple[int, ...]) -> int:
    """Height and width of a folder's pictures where none are asked for.

    Args:
        model: Its name.
        published: Shape of one sample that it was published for; empty for an ``mlp``.
    """
    return 32 if model == "mlp" else min(published[-1], 64)


def dropout(hidden: tuple[int, ...], usual: float) -> float:
    """Dropout of an ``mlp`` where none is asked for.

    A small network, such as the lecture's 784-10-10, has no units to spare.
    """
    return 0.0 if max(hidden, default=0) < 64 else usual
