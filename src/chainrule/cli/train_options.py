"""The options of ``chainrule train``, as its help shows them: a group a section.

What is None is chosen by data and model, see ``usual.py`` and ``text_recipe.py``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from chainrule.cli.recipe import Recipe

_DEFAULT = Recipe(dataset="mnist")


def _option(section: str, meaning: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=meaning, rich_help_panel=section, **more)


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """What is trained."""

    model: Annotated[str, _option("Network", "mlp, lenet5, char-gpt, …: see chainrule models.")] = (
        _DEFAULT.model
    )
    hidden: Annotated[
        str | None,
        _option("Network", "Units of an mlp's hidden layers: 300,100, or none (512,256)."),
    ] = None
    activation: Annotated[
        str | None, _option("Network", "relu, sigmoid, tanh, gelu, … (relu in an mlp).")
    ] = None
    dropout: Annotated[
        float | None, _option("Network", "Probability of dropping a unit (mlp: 0.2; 0 if small).")
    ] = None
    input_dropout: Annotated[
        float | None, _option("Network", "The same for an mlp's inputs (0).")
    ] = None
    max_norm: Annotated[
        float | None, _option("Network", "Largest norm of a unit's incoming weights (any).")
    ] = None


@dataclasses.dataclass(frozen=True)
class LearningOptions:
    """How it is trained."""

    optimizer: Annotated[
        str | None, _option("Learning", "adam, adamw, sgd, momentum, … (by model).")
    ] = None
    learning_rate: Annotated[
        float | None, _option("Learning", "Rate at the start (by model and optimizer).")
    ] = None
    weight_decay: Annotated[
        float | None, _option("Learning", "Shrinks the weights (by model and optimizer).")
    ] = None
    schedule: Annotated[
        str | None, _option("Learning", "Of the rate: constant, cosine or linear (cosine).")
    ] = None
    batch_size: Annotated[
        int | None, _option("Learning", "Samples a step (128; text: by model).")
    ] = None
    epochs: Annotated[int | None, _option("Learning", "Passes over the data (by model).")] = None
    validation: Annotated[
        int | None,
        _option("Learning", "Samples held out to choose the best epoch (5000; folders 15 %)."),
    ] = None
    monitor: Annotated[
        str | None,
        _option(
            "Learning", "What is best there: the smallest loss or the highest accuracy (loss)."
        ),
    ] = None
    limit: Annotated[
        int, _option("Learning", "Use only so many training samples (all).", show_default=False)
    ] = 0
    seed: Annotated[int, _option("Learning", "Same seed, same bits.")] = _DEFAULT.seed
    engine: Annotated[str | None, _option("Learning", "compiler or interpreter (compiler).")] = None


@dataclasses.dataclass(frozen=True)
class PictureOptions:
    """What is done to pictures."""

    image_size: Annotated[
        int | None,
        _option("Pictures", "Pixels that a folder's pictures are scaled to (by model)."),
    ] = None
    grey: Annotated[bool, _option("Pictures", "Take a folder's pictures as grey.", "--grey")] = (
        False
    )
    augment: Annotated[
        str | None,
        _option("Pictures", "none, digits, clothes or photos (by data and model)."),
    ] = None


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """What is done to text."""

    text: Annotated[str | None, _option("Text", "Column of a CSV file that holds texts.")] = None
    target: Annotated[
        str | None, _option("Text", "Column of a CSV file that holds their labels.")
    ] = None
    tokenizer: Annotated[
        str | None,
        _option("Text", "characters, bytes, words, bpe or wordpiece (characters; labels: words)."),
    ] = None
    vocabulary_size: Annotated[
        int | None, _option("Text", "The most words or parts of them (8000).")
    ] = None
    context: Annotated[
        int | None, _option("Text", "Tokens that a language model sees at once (64).")
    ] = None
    steps: Annotated[int | None, _option("Text", "Updates of a language model (2000).")] = None


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What is left and shown."""

    out: Annotated[Path, _option("Run", "Where run folders are made.")] = Path("runs")
    pictures: Annotated[
        bool, _option("Run", "Draw pictures when training ends.", "--pictures/--no-pictures")
    ] = True
    progress: Annotated[str, _option("Run", "auto, bar, line or none.")] = "auto"
