"""A recipe: all that ``chainrule train`` was told, from which data, model and trainer are made.

It is stored in the run folder, so that ``evaluate``, ``predict`` and ``--resume`` rebuild the same.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn, optim
from chainrule.cli.console import one_of, sizes
from chainrule.cli.sources import Parts, find_source, is_path
from chainrule.cli.usual import (
    AUGMENTATIONS,
    MONITORS,
    OPTIMIZERS,
    image_size,
    settings,
    transforms,
)
from chainrule.cli.usual import dropout as usual_dropout
from chainrule.data import ArrayDataset, Augmented
from chainrule.errors import ArgumentError, ShapeError, StateError
from chainrule.models import ACTIVATIONS, MLP, architecture, create, names
from chainrule.program.engines import choose_engine
from chainrule.training import Trainer

# those that give a class for a picture, not for each pixel
MODELS = ("mlp", *(name for name in names("pictures") if architecture(name).family != "U-Net"))
SCHEDULES = ("constant", "cosine", "linear")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to train, how, and from which seed.

    Args:
        dataset: Key of ``sources.KNOWN``, or the absolute path of a folder of pictures.
        model: One of ``MODELS``.
        hidden: Units of each hidden layer of an ``mlp``.
        activation: Key of ``models.ACTIVATIONS``, for an ``mlp``.
        dropout: Probability of dropping a hidden unit of an ``mlp``, in [0, 1).
        input_dropout: The same for its inputs.
        settings: For other models than ``mlp``: keywords of ``models.create`` beside the classes
            and channels, which the data set says.
        augment: One of ``usual.AUGMENTATIONS``.
        optimizer: Key of ``usual.OPTIMIZERS``.
        learning_rate: Start of the schedule; positive.
        weight_decay: ≥ 0; None: the optimizer's own.
        max_norm: Largest norm of a unit's incoming weights; 0: any.
        schedule: One of ``SCHEDULES``, over the whole training.
        batch_size: Samples a step.
        epochs: Passes over the training part.
        seed: Fixes initialisation, splits, order, augmentation and dropout.
        engine: Engine of the Programs; None for the default.
        validation: Samples that are held out to choose the best epoch; None: 5,000, and of a
            folder 15 of 100, or its own part.
        monitor: One of ``usual.MONITORS``: what decides which epoch is best.
        limit: Use only so many training samples; 0 for all.
        image_size: Height and width of a folder's pictures; 0 for data sets with a name.
        grey: A folder's pictures lose their colours.
        shape: Of one sample, (channels, height, width); the data set says it.
        classes: Names of the classes; the data set says them.
    """

    dataset: str
    model: str = "mlp"
    hidden: tuple[int, ...] = (512, 256)
    activation: str = "relu"
    dropout: float = 0.2
    input_dropout: float = 0.0
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    augment: str = "none"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float | None = None
    max_norm: float = 0.0
    schedule: str = "cosine"
    batch_size: int = 128
    epochs: int = 12
    seed: int = 0
    engine: str | None = None
    validation: int | None = None
    monitor: str = "loss"
    limit: int = 0
    image_size: int = 0
    grey: bool = False
    shape: tuple[int, ...] = (1, 28, 28)
    classes: tuple[str, ...] = tuple(map(str, range(10)))

    @classmethod
    def compose(cls, what: str, model: str, **given: Any) -> Recipe:
        """A checked recipe: what is not given (None) is what suits the data and the model.

        Args:
            what: A data set's name, or the path of a folder.
            model: One of ``MODELS``.
            given: Fields.

        Raises:
            ArgumentError: A value is unknown or out of range, or the model does not fit.
            DataError: A folder has no classes, or a data set is not on this machine.
        """
        model = model.replace("-", "_")
        one_of(model, MODELS, "--model")
        size, grey = given.pop("image_size", None), bool(given.pop("grey", None))
        if size is not None and not 1 <= size <= 4096:
            raise ArgumentError(
                "--image-size is out of range", expected="1 to 4096 pixels", got=str(size)
            )
        if is_path(what):
            what = str(Path(what).expanduser().resolve())
            published = () if model == "mlp" else architecture(model).input_shape
            size = image_size(model, published) if size is None else size
        source = find_source(what, size or 0, grey)
        fields = settings(source.kind, model, given)
        made = cls(
            what, model, image_size=size or 0, grey=grey, shape=source.shape, **fields
        )._checked()
        return dataclasses.replace(made, classes=source.classes())._fitting()

    def _checked(self) -> Recipe:
        """The recipe, if every value is known and in its range."""
        one_of(self.activation, ACTIVATIONS, "--activation")
        one_of(self.augment, AUGMENTATIONS, "--augment")
        one_of(self.optimizer, OPTIMIZERS, "--optimizer")
        one_of(self.schedule, SCHEDULES, "--schedule")
        one_of(self.monitor, MONITORS, "--monitor")
        if self.engine is not None:
            choose_engine(self.engine)
        for name, value, low, high in [
            ("--dropout", self.dropout, 0.0, 0.999),
            ("--input-dropout", self.input_dropout, 0.0, 0.999),
            ("--learning-rate", self.learning_rate, 1e-12, 1e6),
            ("--weight-decay", self.weight_decay or 0.0, 0.0, 1e6),
            ("--max-norm", self.max_norm, 0.0, 1e6),
            ("--batch-size", self.batch_size, 1, 60_000),
            ("--epochs", self.epochs, 1, 100_000),
            ("--validation", self.validation or 0, 0, 10_000_000),
            ("--limit", self.limit, 0, 10_000_000),
        ]:
            if not low <= value <= high:
                raise ArgumentError(
                    f"{name} is out of range", expected=f"{low:g} to {high:g}", got=f"{value:g}"
                )
        if self.limit and self.limit <= (self.validation or 0):
            raise ArgumentError(
                "--limit leaves nothing to train on beside the validation part",
                expected=f"more than --validation, {self.validation}",
                got=str(self.limit),
                fix="pass a smaller --validation",
            )
        if self.validation == 0 and self.monitor != "loss":
            raise ArgumentError(
                "without samples held out no epoch is chosen",
                got=f"--validation 0 --monitor {self.monitor}",
                fix="leave one of them out",
            )
        return self

    def _fitting(self) -> Recipe:
        """The recipe, if the model takes pictures of this size; nothing is allocated."""
        try:
            if self.model != "mlp":
                self.build_model().summary(self.shape)
        except ShapeError as error:
            height, width = self.shape[1:]
            published = " × ".join(map(str, architecture(self.model).input_shape))
            raise ArgumentError(
                f"{self.model} does not fit pictures of {height} × {width}",
                expected=f"a model for such pictures; this one takes {published}",
                got=error.message,
                fix="another --image-size"
                if self.image_size
                else "--model lenet5, allconv, cifar_resnet20, resnet18 or mobilenet_v2",
            ) from None
        return self

    @property
    def source_name(self) -> str:
        """Short name of the data."""
        return Path(self.dataset).name

    @property
    def name(self) -> str:
        """Short name for the run folder."""
        return f"{self.source_name}-{self.model}"

    @property
    def title(self) -> str:
        """The model in one line."""
        if self.model != "mlp":
            return self.model
        sizes = (math.prod(self.shape), *self.hidden, len(self.classes))
        return f"{'-'.join(map(str, sizes))} {self.activation}"

    @property
    def is_grey(self) -> bool:
        """Whether its pictures have one channel."""
        return self.shape[0] == 1

    def data(self) -> Parts:
        """Training, validation (None if nothing is held out) and test part, as they are."""
        source = find_source(self.dataset, self.image_size, self.grey)
        return source.read(self.validation, self.limit, self.seed)

    def augmented(self, train: ArrayDataset) -> ArrayDataset | Augmented:
        """The training part as it is trained on."""
        chosen = transforms(self.augment, self.shape)
        return Augmented(train, chosen) if chosen else train

    def build_model(self, train: ArrayDataset | None = None) -> nn.Module:
        """The model; its first layer standardises by the training part's means and deviations."""
        shape = (self.shape[0], 1, 1)
        mean, scale = np.zeros(shape), np.ones(shape)
        if train is not None:
            mean, scale = (x.reshape(shape) for x in _moments(np.asarray(train.inputs)))
        n_classes = len(self.classes)
        if self.model == "mlp":
            return MLP(
                self.shape, self.hidden, n_classes, activation=self.activation,
                dropout=self.dropout, input_dropout=self.input_dropout, mean=mean, scale=scale,
            )  # fmt: skip
        network = create(
            self.model, num_classes=n_classes, in_channels=self.shape[0], **self.settings
        )
        return nn.Sequential({"standardize": nn.Standardize(mean, scale), "network": network})

    def trainer(self, model: nn.Module, n_train: int) -> Trainer:
        """A Trainer for ``model``, with the schedule stretched over the whole training."""
        make, _ = OPTIMIZERS[self.optimizer]
        steps = self.epochs * -(-n_train // self.batch_size)
        rate: Any = self.learning_rate
        if self.schedule == "cosine":
            rate = optim.Cosine(self.learning_rate, steps)
        elif self.schedule == "linear":
            rate = optim.Linear(self.learning_rate, self.learning_rate / 100, steps)
        more: dict[str, Any] = {}
        if self.weight_decay is not None:
            more["weight_decay"] = self.weight_decay
        if self.max_norm:
            more["groups"] = [optim.group("*weight", max_row_norm=self.max_norm)]
        return Trainer(
            model,
            loss=nn.CrossEntropyLoss(),
            optimizer=make(rate, **more),
            metrics=["accuracy"],
            seed=self.seed,
            batch_size=self.batch_size,
            engine=self.engine,
        )

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, run: Path) -> Recipe:
        """Read the recipe of a run folder.

        Raises:
            StateError: The folder was not made by this command.
        """
        try:
            stored = json.loads((run / "config.json").read_text(encoding="utf-8"))["recipe"]
            tuples = {name: tuple(stored[name]) for name in ("hidden", "shape", "classes")}
            return cls(**{**stored, **tuples})._checked()._fitting()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{run} holds no recipe that this version can read",
                expected="config.json with an entry recipe, written by chainrule train",
                got=f"{type(error).__name__}: {error}",
            ) from None


def of_the_model(
    model: str,
    hidden: str | None = None,
    activation: str | None = None,
    dropout: float | None = None,
    input_dropout: float | None = None,
) -> dict[str, Any]:
    """The fields of a recipe for the options that shape the model.

    Args:
        model: Its name.
        hidden: As it was typed; None: not at all.
        activation: For an ``mlp``, or a setting of the model.
        dropout: Likewise.
        input_dropout: For an ``mlp``.

    Raises:
        ArgumentError: The model has no such option.
    """
    if model == "mlp":
        widths = Recipe.hidden if hidden is None else tuple(sizes(hidden, "--hidden"))
        usual = usual_dropout(widths, Recipe.dropout)
        return {
            "hidden": widths,
            "activation": activation,
            "dropout": usual if dropout is None else dropout,
            "input_dropout": input_dropout,
        }
    for option, value in (("--hidden", hidden), ("--input-dropout", input_dropout)):
        if value is not None:
            raise ArgumentError(
                f"the layers of {model} are those of its paper",
                got=f"{option} {value}",
                fix=f"leave {option} out, or --model mlp",
            )
    chosen = {"activation": activation, "dropout": dropout}
    return {"settings": {name: value for name, value in chosen.items() if value is not None}}


def _moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel of bytes (n, channels, height, width), exactly.

    By counting values: the deviation of a copy in float64 would need eight times the memory.
    """
    values = np.arange(256.0)
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        counts = np.bincount(np.ascontiguousarray(pixels[:, channel]).ravel(), minlength=256)
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviations.append(math.sqrt(counts @ (values - mean) ** 2 / counts.sum()) or 1.0)
    return np.array(means), np.array(deviations)
