"""Pictures of a run, drawn when it ends: learning curves, confusion matrix, first weights."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from chainrule import plots
from chainrule.errors import ArgumentError
from chainrule.metrics import ConfusionMatrix
from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Fit


class _Picture(Callback):
    """A picture drawn at the end, after the best weights are back."""

    priority = 60

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def key(self) -> str:
        """Class and file name."""
        return f"{type(self).__name__}:{self.path.name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"


class LearningCurvePicture(_Picture):
    """Loss and metrics over the epochs, training and validation.

    Args:
        path: PNG file to write.
    """

    def on_fit_end(self, fit: Fit) -> None:
        """Draw, if an epoch has ended."""
        draw_learning_curves(fit.history, self.path)


def draw_learning_curves(history: Any, path: Path) -> None:
    """Draw the columns of a history that are measured on data.

    Args:
        history: A History; nothing is drawn of an empty one.
        path: PNG file to write.
    """
    if not history.n_epochs:
        return
    left_out = {"epoch", "seconds", "learning_rate", "samples_per_second"}
    columns = {
        f"validation_{name[4:]}" if name.startswith("val_") else name: values
        for name, values in history.items()
        if name not in left_out and not name.startswith("gradient_norm")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.learning_curves(columns, path, best_epoch=history.best_epoch)


class ConfusionMatrixPicture(_Picture):
    """Which classes of the validation data are taken for which.

    Args:
        path: PNG file to write.
        class_names: Names along the axes; None: the data set's, or numbers.
    """

    def __init__(
        self, path: str | PathLike[str], class_names: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(path)
        self.class_names = class_names

    def on_fit_begin(self, fit: Fit) -> None:
        """Check that there is something to draw.

        Raises:
            ArgumentError: There is no validation data.
        """
        if fit.validation is None:
            raise ArgumentError(
                "ConfusionMatrixPicture has no validation data to draw",
                fix="fit(..., validation=...)",
            )

    def on_fit_end(self, fit: Fit) -> None:
        """Draw."""
        if fit.history.n_epochs:
            draw_confusion_matrix(
                fit.trainer, fit.validation, self.path, self.class_names, "validation data"
            )


def draw_confusion_matrix(
    trainer: Any, data: Any, path: Path, class_names: tuple[str, ...] | None, title: str
) -> None:
    """Evaluate and draw.

    Args:
        trainer: Evaluates.
        data: Samples, a data set or a tuple.
        path: PNG file to write.
        class_names: One a class; None: the data set's, or numbers.
        title: Drawn above.
    """
    metric = ConfusionMatrix(threshold=trainer.threshold)
    matrix = trainer.evaluate(data, metrics=[metric])[metric.name]
    names = class_names or getattr(data, "class_names", None) or tuple(map(str, range(len(matrix))))
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.confusion_matrix(matrix, list(names), path, title=title)


class WeightImages(_Picture):
    """The weights of the first layers: a small picture for each unit, or one map.

    Args:
        folder: Where ``weights_layer1.png``, ``weights_layer2.png``, ... go.
        n_layers: How many layers with a weight matrix to draw.
        image_shape: (height, width) of the input images; None: of the data, if it holds images.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        n_layers: int = 2,
        image_shape: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(folder)
        self.n_layers = n_layers
        self.image_shape = image_shape

    def on_fit_end(self, fit: Fit) -> None:
        """Draw."""
        matrices = [
            (name, value.numpy())
            for name, value in fit.model.named_parameters()
            if value.ndim == 2 and min(value.shape) > 1
        ]
        self.path.mkdir(parents=True, exist_ok=True)
        for number, (name, weights) in enumerate(matrices[: self.n_layers], start=1):
            shape = (self.image_shape or fit.image_shape) if number == 1 else None
            if shape is not None and shape[0] * shape[1] != weights.shape[1]:
                shape = None
            plots.weight_images(
                weights,
                self.path / f"weights_layer{number}.png",
                image_shape=shape,
                title=f"{name}, {weights.shape[0]} units",
            )
