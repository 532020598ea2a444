"""``chainrule predict RUN image.png…``: what a trained network sees in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from chainrule.cli.console import existing_run, output
from chainrule.cli.recipe import Recipe
from chainrule.errors import DataError
from chainrule.nn.functional import softmax
from chainrule.training import load_best

MAX_PIXELS = 50_000_000


def predict(
    run: Annotated[Path, typer.Argument(help="Folder made by chainrule train.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures of one digit each.")],
) -> None:
    """Print the most likely class of each picture, with its probability."""
    recipe = Recipe.load(existing_run(run))
    pixels = np.stack([read_digit(path) for path in images])
    model = recipe.build_model()
    load_best(run, model)
    logits = recipe.trainer(model, 1).predict(pixels)
    probabilities = np.asarray(softmax(logits, axis=1))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("picture", "digit", "probability", "next"):
        table.add_column(heading, justify="left" if heading == "picture" else "right")
    for path, row in zip(images, probabilities, strict=True):
        first, second = np.argsort(row)[::-1][:2]
        table.add_row(str(path), str(first), f"{row[first]:.1%}", f"{second} ({row[second]:.1%})")
    output.print(table)


def read_digit(path: Path) -> np.ndarray:
    """Read a picture as 28 × 28 grey values, light strokes on dark as in MNIST.

    Dark strokes on light are inverted; other sizes are scaled.

    Raises:
        DataError: The file is missing, is no picture, or is larger than 50 million pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(
                    f"{path} is too large to be decoded",
                    expected=f"at most {MAX_PIXELS:,} pixels",
                    got=f"{picture.width} × {picture.height}",
                )
            grey = picture.convert("L")
            if grey.size != (28, 28):
                grey = grey.resize((28, 28), Image.Resampling.LANCZOS)
            pixels = np.asarray(grey, dtype=np.uint8)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} can not be read as a picture",
            expected="a PNG or JPEG file",
            got=str(error),
        ) from None
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return 255 - pixels if border.mean() > 127 else pixels
