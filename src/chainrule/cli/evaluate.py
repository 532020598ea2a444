"""``chainrule evaluate RUN``: measure a trained network on the test part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from chainrule.cli.console import existing_run, output
from chainrule.cli.recipe import Recipe
from chainrule.cli.tables import per_class
from chainrule.cli.text import evaluate_text
from chainrule.cli.text_recipe import is_text_run
from chainrule.training import load_best


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder made by chainrule train.")],
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 1000,
) -> None:
    """Print loss, accuracy and per-class figures on the test part."""
    if is_text_run(existing_run(run)):
        return evaluate_text(run, batch_size)
    recipe = Recipe.load(run)
    test = recipe.data().test
    model = recipe.build_model()
    load_best(run, model)
    trainer = recipe.trainer(model, 1)
    figures = trainer.evaluate(test, batch_size=batch_size)
    for name, value in figures.items():
        output.print(f"test {name:<10} {value:.4f}")
    logits = trainer.predict(test.inputs, batch_size=batch_size)
    output.print(per_class(logits, test, [escape(name) for name in recipe.classes]))
    return None
