"""A recipe: all that ``chainrule train`` was told, from which data, model and trainer are made.

It is stored in the run folder, so that ``evaluate``, ``predict`` and ``--resume`` rebuild the same.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn, optim
from chainrule.cli.console import one_of
from chainrule.data import ArrayDataset, holdout, mnist
from chainrule.errors import ArgumentError, ShapeError, StateError
from chainrule.models import ACTIVATIONS, MLP, architecture, create, names
from chainrule.program.engines import choose_engine
from chainrule.training import Trainer

DATASETS = ("mnist",)
# those that give a class for a picture, not for each pixel
MODELS = ("mlp", *(name for name in names("pictures") if architecture(name).family != "U-Net"))
SCHEDULES = ("constant", "cosine", "linear")
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


def _published(model: str) -> str:
    return " × ".join(str(n) for n in architecture(model).input_shape)


def usual_dropout(hidden: Sequence[int]) -> float:
    """Dropout where none is asked for.

    A small network, such as the lecture's 784-10-10, has no units to spare.
    """
    return 0.0 if max(hidden, default=0) < 64 else Recipe.dropout


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to train, how, and from which seed.

    Args:
        dataset: One of ``DATASETS``.
        model: One of ``MODELS``.
        hidden: Units of each hidden layer of an ``mlp``.
        activation: Key of ``models.ACTIVATIONS``, for an ``mlp``.
        dropout: Probability of dropping a hidden unit of an ``mlp``, in [0, 1).
        settings: For other models than ``mlp``: keywords of ``models.create`` beside the classes
            and channels, which the data set says.
        optimizer: Key of ``OPTIMIZERS``.
        learning_rate: Start of the schedule; positive.
        schedule: One of ``SCHEDULES``, over the whole training.
        batch_size: Samples a step.
        epochs: Passes over the training part.
        seed: Fixes initialisation, order and dropout.
        engine: Engine of the Programs; None for the default.
        validation: Samples of the training set that are held out to choose the best epoch.
        limit: Use only the first so many training samples; 0 for all.
    """

    dataset: str
    model: str = "mlp"
    hidden: tuple[int, ...] = (512, 256)
    activation: str = "relu"
    dropout: float = 0.2
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    batch_size: int = 128
    epochs: int = 12
    seed: int = 0
    engine: str | None = None
    validation: int = 5000
    limit: int = 0

    def check(self) -> Recipe:
        """Return the recipe, or raise ArgumentError with the valid values."""
        one_of(self.dataset, DATASETS, "chainrule train")
        one_of(self.model, MODELS, "--model")
        one_of(self.activation, ACTIVATIONS, "--activation")
        one_of(self.optimizer, OPTIMIZERS, "--optimizer")
        one_of(self.schedule, SCHEDULES, "--schedule")
        if self.engine is not None:
            choose_engine(self.engine)
        for name, value, low, high in [
            ("--dropout", self.dropout, 0.0, 0.999),
            ("--learning-rate", self.learning_rate, 1e-12, 1e6),
            ("--batch-size", self.batch_size, 1, 60_000),
            ("--epochs", self.epochs, 1, 100_000),
            ("--validation", self.validation, 0, 50_000),
            ("--limit", self.limit, 0, 60_000),
        ]:
            if not low <= value <= high:
                raise ArgumentError(
                    f"{name} is out of range", expected=f"{low:g} to {high:g}", got=f"{value:g}"
                )
        if self.limit and self.limit <= self.validation:
            raise ArgumentError(
                "--limit leaves nothing to train on beside the validation part",
                expected=f"more than --validation, {self.validation}",
                got=str(self.limit),
                fix="pass a smaller --validation",
            )
        if self.model != "mlp":
            self._convolutional(0.0, 1.0)  # says what does not fit before a run folder is made
        return self

    @property
    def name(self) -> str:
        """Short name for the run folder."""
        return f"{self.dataset}-{self.model}"

    def data(self) -> tuple[ArrayDataset, ArrayDataset | None, ArrayDataset]:
        """Training, validation (None if nothing is held out) and test part."""
        whole, test = mnist("train"), mnist("test")
        if self.limit:
            whole = whole.subset(np.arange(self.limit))
        if not self.validation:
            return whole, None, test
        train, validation = holdout(whole, self.validation / len(whole), self.seed)
        return train, validation, test

    def build_model(self, train: ArrayDataset | None = None) -> nn.Module:
        """The model; inputs are standardised by the training part's mean and deviation."""
        mean, scale = 0.0, 1.0
        if train is not None:
            pixels = np.asarray(train.inputs)
            mean, scale = float(pixels.mean()), float(pixels.std())
        if self.model != "mlp":
            return self._convolutional(mean, scale)
        return MLP(
            (28, 28), self.hidden, 10, activation=self.activation, dropout=self.dropout,
            mean=mean, scale=scale,
        )  # fmt: skip

    def _convolutional(self, mean: float, scale: float) -> nn.Module:
        """A registered model behind layers that standardise and give grey pictures a channel."""
        network = create(self.model, num_classes=10, in_channels=1, **self.settings)
        model = nn.Sequential(
            {
                "standardize": nn.Standardize(mean, scale),
                "channels": nn.Unflatten(1, (1, 28)),
                "network": network,
            }
        )
        try:
            model.summary((28, 28))
        except ShapeError as error:
            raise ArgumentError(
                f"{self.model} does not fit pictures of 28 × 28",
                expected=f"a model for small pictures; this one takes {_published(self.model)}",
                got=error.message,
                fix="--model lenet5, allconv, cifar_resnet20, resnet18 or mobilenet_v2",
            ) from None
        return model

    def trainer(self, model: nn.Module, n_train: int) -> Trainer:
        """A Trainer for ``model``, with the schedule stretched over the whole training."""
        make, _ = OPTIMIZERS[self.optimizer]
        steps = self.epochs * -(-n_train // self.batch_size)
        rate: Any = self.learning_rate
        if self.schedule == "cosine":
            rate = optim.Cosine(self.learning_rate, steps)
        elif self.schedule == "linear":
            rate = optim.Linear(self.learning_rate, self.learning_rate / 100, steps)
        return Trainer(
            model,
            loss=nn.CrossEntropyLoss(),
            optimizer=make(rate),
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
            return cls(**{**stored, "hidden": tuple(stored["hidden"])}).check()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{run} holds no recipe that this version can read",
                expected="config.json with an entry recipe, written by chainrule train",
                got=f"{type(error).__name__}: {error}",
            ) from None
