"""Images changed at random while they are trained on, the same in every run of one seed."""

from chainrule.data.augmentation.base import Transform
from chainrule.data.augmentation.colours import ColorJitter, Normalize
from chainrule.data.augmentation.crops import (
    CenterCrop,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomVerticalFlip,
)
from chainrule.data.augmentation.draws import Draws
from chainrule.data.augmentation.mixing import CutMix, Mixing, MixUp
from chainrule.data.augmentation.pipeline import Augmentation, Augmented
from chainrule.data.augmentation.warps import (
    ElasticTransform,
    RandomAffine,
    RandomResizedCrop,
    RandomRotation,
)

__all__ = [
    "Augmentation",
    "Augmented",
    "CenterCrop",
    "ColorJitter",
    "CutMix",
    "Draws",
    "ElasticTransform",
    "MixUp",
    "Mixing",
    "Normalize",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Transform",
]
