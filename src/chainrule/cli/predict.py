"""``chainrule predict RUN image.png…``: what a trained network sees in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from chainrule.cli.console import existing_run, output
from chainrule.cli.recipe import Recipe
from chainrule.cli.sources import KNOWN
from chainrule.cli.text import predict_text
from chainrule.cli.text_recipe import is_text_run
from chainrule.data import read_image
from chainrule.nn.functional import softmax
from chainrule.training import load_best


def predict(
    run: Annotated[Path, typer.Argument(help="Folder made by chainrule train.")],
    inputs: Annotated[
        list[str], typer.Argument(help="PNG or JPEG files; or texts, for a model of text.")
    ],
) -> None:
    """Print the most likely class of each picture or text, or what may come next in a text."""
    if is_text_run(existing_run(run)):
        return predict_text(run, inputs)
    recipe = Recipe.load(run)
    images = [Path(path) for path in inputs]
    pixels = np.stack([read_for(recipe, path) for path in images])
    model = recipe.build_model()
    load_best(run, model)
    logits = recipe.trainer(model, 1).predict(pixels)
    probabilities = np.asarray(softmax(logits, axis=1))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("picture", "class", "probability", "next"):
        table.add_column(heading, justify="left" if heading in ("picture", "class") else "right")
    names = [escape(name) for name in recipe.classes]
    for path, row in zip(images, probabilities, strict=True):
        first, *others = np.argsort(row)[::-1][:2]
        following = "".join(f"{names[c]} ({row[c]:.1%})" for c in others)
        table.add_row(escape(str(path)), names[first], f"{row[first]:.1%}", following)
    output.print(table)
    return None


def read_for(recipe: Recipe, path: Path) -> np.ndarray:
    """Read a picture as the samples were that a network learned from.

    Digits and clothes are light on dark in their data sets: dark ones on light are inverted.

    Args:
        recipe: How the network was trained.
        path: A PNG or JPEG file.

    Shape: uint8, that of a sample.

    Raises:
        DataError: The file is missing, is no picture, or is larger than 50 million pixels.
    """
    size = recipe.shape[1:]
    known = recipe.dataset in KNOWN
    # what is not square is a digit's own proportions; photographs are cut as in training
    drawn = known and recipe.is_grey
    pixels = read_image(
        path,
        size=(size[0], size[1]),
        mode="grey" if recipe.is_grey else "RGB",
        fit="stretch" if drawn else "crop",
    )
    border = np.concatenate([pixels[0, 0], pixels[0, -1], pixels[0, :, 0], pixels[0, :, -1]])
    return 255 - pixels if drawn and border.mean() > 127 else pixels
