"""``chainrule evaluate RUN``: measure a trained network on the test part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from chainrule.cli.console import existing_run, output
from chainrule.cli.recipe import Recipe
from chainrule.data import ArrayDataset
from chainrule.training import load_best


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder made by chainrule train.")],
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 1000,
) -> None:
    """Print loss, accuracy and per-class figures on the test part."""
    recipe = Recipe.load(existing_run(run))
    test = recipe.data().test
    model = recipe.build_model()
    load_best(run, model)
    trainer = recipe.trainer(model, 1)
    figures = trainer.evaluate(test, batch_size=batch_size)
    for name, value in figures.items():
        output.print(f"test {name:<10} {value:.4f}")
    logits = trainer.predict(test.inputs, batch_size=batch_size)
    output.print(_per_class(logits, test, [escape(name) for name in recipe.classes]))


def _per_class(logits: np.ndarray, test: ArrayDataset, names: list[str]) -> Table:
    chosen = logits.argmax(axis=1)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("class", "samples", "recall", "precision", "most often taken for"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    labels = np.asarray(test.targets)
    for number, name in enumerate(names):
        mine, picked = labels == number, chosen == number
        hits = int((mine & picked).sum())
        wrong = np.bincount(chosen[mine & ~picked], minlength=len(names))
        table.add_row(
            name,
            str(int(mine.sum())),
            f"{hits / max(int(mine.sum()), 1):.3f}",
            f"{hits / max(int(picked.sum()), 1):.3f}",
            f"{names[wrong.argmax()]} ({wrong.max()}×)" if wrong.any() else "–",
        )
    return table
