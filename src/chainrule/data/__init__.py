"""Floor 3: data sets, their splits, order and preprocessing."""

from chainrule.data.augmentation import (
    Augmented,
    CenterCrop,
    ColorJitter,
    CutMix,
    ElasticTransform,
    MixUp,
    Normalize,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Transform,
)
from chainrule.data.cifar import cifar10, cifar100
from chainrule.data.dataset import ArrayDataset, as_dataset
from chainrule.data.fashion import fashion_mnist
from chainrule.data.folders import image_folder
from chainrule.data.idx import read_idx, write_idx
from chainrule.data.mnist import mnist
from chainrule.data.order import batches, epoch_order
from chainrule.data.pictures import read_image
from chainrule.data.preprocessing import Standardizer, one_hot, scale_images
from chainrule.data.sound import (
    hertz_to_mel,
    log_mel,
    mel_filters,
    mel_to_hertz,
    read_wav,
    spectrogram,
    stft,
)
from chainrule.data.splits import holdout, stratified_split
from chainrule.data.toys import circles, spirals, two_moons, xor

__all__ = [
    "ArrayDataset",
    "Augmented",
    "CenterCrop",
    "ColorJitter",
    "CutMix",
    "ElasticTransform",
    "MixUp",
    "Normalize",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Standardizer",
    "Transform",
    "as_dataset",
    "batches",
    "cifar10",
    "cifar100",
    "circles",
    "epoch_order",
    "fashion_mnist",
    "hertz_to_mel",
    "holdout",
    "image_folder",
    "log_mel",
    "mel_filters",
    "mel_to_hertz",
    "mnist",
    "one_hot",
    "read_idx",
    "read_image",
    "read_wav",
    "scale_images",
    "spectrogram",
    "spirals",
    "stft",
    "stratified_split",
    "two_moons",
    "write_idx",
    "xor",
]
