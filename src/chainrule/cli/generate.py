"""``chainrule generate RUN``: a trained language model writes on, character after character."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from chainrule.cli.console import existing_run
from chainrule.cli.text import open_run
from chainrule.cli.text_recipe import is_text_run
from chainrule.data import Tokenizer
from chainrule.errors import ArgumentError
from chainrule.generation import beam_search, write_text


def generate(
    run: Annotated[Path, typer.Argument(help="Folder made by chainrule train.")],
    prompt: Annotated[str, typer.Option(help="Text to begin with.")] = "\n",
    tokens: Annotated[int, typer.Option(help="How many tokens to write.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="Below 1: likelier text; 0: always the likeliest token.")
    ] = 0.8,
    top_k: Annotated[int, typer.Option(help="Choose among the k likeliest; 0: all.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Choose among the fewest likeliest that together have p.")
    ] = 1.0,
    beam: Annotated[
        int, typer.Option(help="Search with so many texts at a time for a likely one; 0: draw.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same text.")] = 0,
    engine: Annotated[str | None, typer.Option(help="compiler (default) or interpreter.")] = None,
) -> None:
    """Write text from a trained language model, as it comes."""
    existing_run(run)
    recipe = None
    if is_text_run(run):
        recipe, tokenizer, model, _ = open_run(run)
    if recipe is None or not recipe.writes:
        raise ArgumentError(
            f"the model of {run} does not write",
            expected="a run of a language model",
            got=recipe.model if recipe is not None else "a network for pictures",
            fix="chainrule train shakespeare --model char-gpt",
        )
    if not prompt:
        prompt = "\n"
    if beam:
        _search(model, tokenizer, prompt, tokens, beam, engine)
        return
    _show(prompt.lstrip("\n"))
    for piece in write_text(
        model,
        tokenizer,
        prompt,
        tokens,
        temperature=temperature,
        top_k=top_k or None,
        top_p=top_p,
        seed=seed,
        engine=engine,
    ):
        _show(piece)
    _show("\n")


def _search(
    model: object, tokenizer: Tokenizer, prompt: str, tokens: int, width: int, engine: str | None
) -> None:
    start = tokenizer.encode(prompt)
    found = beam_search(model, start, tokens, width=width, engine=engine)
    _show(prompt.lstrip("\n") + tokenizer.decode(found.tokens[0]) + "\n")


def _show(text: str) -> None:
    """Plain text, at once: what a model writes is no markup."""
    sys.stdout.write(text)
    sys.stdout.flush()
