"""Beam search: the likeliest texts that can be found while keeping few at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.array import Array, asarray
from chainrule.errors import ArgumentError, NonFiniteError
from chainrule.generation.asking import (
    as_prompt,
    as_stop,
    broken_logits,
    capacity_for,
    check_count,
    kept_program,
    pack,
    packed_like,
    read,
    unpack,
    vocabulary_size,
)
from chainrule.nn.functional import log_softmax
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.program import run_steps
from chainrule.training.probe import mode
from chainrule.tree import Structure

#: steps between looks at whether all texts have ended
STRETCH = 16


class Beams(NamedTuple):
    """What beam search found, best first.

    Args:
        tokens: int64 (width, n), or (batch, width, n): what follows the prompt; filled up with the
            token that ended a text.
        scores: float64 (width,) or (batch, width): logarithms of the texts' probabilities, divided
            by length ** length_penalty; −∞ where there are not so many texts.
        lengths: int64, of the same shape: tokens of each text, the one that ended it included.
    """

    tokens: np.ndarray
    scores: np.ndarray
    lengths: np.ndarray


def beam_search(
    model: Any,
    prompt: Any,
    n_tokens: int,
    *,
    width: int = 4,
    stop: int | Sequence[int] | None = None,
    length_penalty: float = 0.0,
    cache: Any = None,
    engine: str | None = None,
) -> Beams:
    """Search for likely texts: of all that continue the best ``width``, keep the best ``width``.

    Texts that have ended keep their place as long as their probability is among the best. A width
    of 1 is ``generate`` with temperature 0.

    Args:
        model: Has ``initial_cache`` and ``next_logits``; see ``models.generation``.
        prompt: Tokens to begin with: integers (n,), or (batch, n).
        n_tokens: The most to write, ≥ 1.
        width: Texts that are kept, ≥ 1.
        stop: A token that ends a text, or several such.
        length_penalty: The found texts are ranked by log-probability / length ** this: 0 favours
            short ones, 1 ranks by the mean per token.
        cache: To begin from, for ``batch`` rows, such as an encoder–decoder makes of its source;
            None: the model's initial one.
        engine: As for ``compile``.

    Raises:
        ArgumentError: A setting is out of range, the model has no cache, or prompt and
            ``n_tokens`` together are more than it looks back on.
        DataError: The prompt is empty or holds unknown tokens.
        NonFiniteError: The model's logits are not finite.

    Reference: Graves 2012, "Sequence transduction with recurrent neural networks", section 2.5;
    Wu et al. 2016, "Google's neural machine translation system", section 7 (length penalty).

    >>> from chainrule import models, random
    >>> random.seed(0)
    >>> model = models.GPT(10, 16, width=16, num_layers=1, num_heads=2)
    >>> found = beam_search(model, [1, 2, 3], 5, width=3)
    >>> found.tokens.shape, bool((np.diff(found.scores) <= 0).all())
    ((3, 5), True)
    """
    rows, single = as_prompt(prompt, vocabulary_size(model))
    needed = rows.shape[1] + check_count(n_tokens) - 1
    _check(model, width, length_penalty, needed)
    ends = as_stop(stop)
    with mode(model, False):
        start = cache
        if cache is None:
            start = model.initial_cache(len(rows), capacity_for(model, needed))
        start, _ = read(model, rows[:, :-1], start, engine, rest=True)
        leaves, form = pack(start)
        state: dict[str, Any] = {
            "cache": [_of_rows(x, lambda rows: ops.repeat(rows, width, axis=0)) for x in leaves],
            "tokens": asarray(np.repeat(rows[:, -1], width)),
            "scores": asarray(_first_scores(len(rows), width)),
            "ended": asarray(np.zeros((len(rows), width), bool)),
        }
        parents, tokens = _run(model, state, form, n_tokens, width, ends, engine)
    found = _traced_back(parents, tokens)
    ranked = _ranked(found, state["scores"].numpy(), ends, length_penalty)
    return Beams(*(x[0] for x in ranked)) if single else ranked


def _check(model: Any, width: int, length_penalty: float, needed: int) -> None:
    if width < 1 or not math.isfinite(length_penalty):
        raise ArgumentError(
            "there is no such beam",
            expected="a width ≥ 1 and a finite length_penalty",
            got=f"width={width}, length_penalty={length_penalty}",
            where=str(here()),
        )
    if not hasattr(model, "next_logits"):
        raise ArgumentError(
            f"{type(model).__name__} has no cache that a beam could branch",
            expected="a model with initial_cache and next_logits; see models.generation",
            got="no such methods",
            where=str(here()),
        )
    limit = model.context_length
    if limit is not None and needed > limit:
        raise ArgumentError(
            "the texts would be longer than what the model looks back on",
            expected=f"at most {limit} tokens, prompt included",
            got=str(needed),
            fix="a shorter prompt, or fewer n_tokens",
            where=str(here()),
        )


def _first_scores(batch: int, width: int) -> np.ndarray:
    """All rows of a beam begin equal: only the first may branch."""
    scores = np.full((batch, width), -np.inf)
    scores[:, 0] = 0.0
    return scores


def _of_rows(value: Any, change: Callable[[Array], Array]) -> Any:
    """``change`` applied to a part of a cache, if it has a row for each text."""
    return change(value) if getattr(value, "ndim", 0) else value


def _run(
    model: Any,
    state: dict[str, Any],
    form: Structure,
    n_tokens: int,
    width: int,
    ends: tuple[int, ...],
    engine: str | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Parents and tokens of each step, (n, batch, width)."""
    shapes = tuple(tuple(x.shape) for x in state["cache"])
    key = ("beam", width, ends, form, shapes, engine)
    program = kept_program(model, key, lambda: _beam_step(width, ends, form))
    parents, tokens = [], []
    clock = np.zeros((STRETCH, 1), np.int64)
    for begin in range(0, n_tokens, STRETCH):
        n = min(STRETCH, n_tokens - begin)
        try:
            _, chosen, origin, ended = run_steps(
                program, [model, state], [clock], np.arange(n)[:, None]
            )
        except NonFiniteError as error:
            raise broken_logits(error) from None
        done = np.flatnonzero(ended.all(axis=(1, 2)))
        n = int(done[0]) + 1 if len(done) else n
        tokens.append(chosen[:n])
        parents.append(origin[:n])
        if len(done):
            break
    return np.concatenate(parents), np.concatenate(tokens)


def _beam_step(width: int, ends: tuple[int, ...], form: Structure) -> Callable[..., Any]:
    """Make a step that lengthens every text by a token and keeps the best."""

    def step(model: Any, state: Any, clock: Array) -> Any:
        scores, ended = state["scores"], state["ended"]
        batch = scores.shape[0]
        tokens = ops.expand_dims(state["tokens"], axis=1)
        logits, cache = model.next_logits(tokens, unpack(state["cache"], form))
        n_each = min(width, logits.shape[-1])
        # the best of each text are taken by logits: their order is exact
        _, best = ops.top_k(logits, n_each)
        gains = ops.take_along_axis(log_softmax(logits, axis=-1), best, axis=-1)
        gains = ops.astype(gains, dtypes.float64).reshape((batch, width, n_each))
        best = ops.astype(best, dtypes.int64).reshape((batch, width, n_each))
        if ends:  # a text that has ended goes on as itself
            first = ops.arange(n_each).reshape((1, 1, n_each)) == 0
            over = ops.expand_dims(ended, axis=2)
            gains = ops.where(over, ops.where(first, 0.0, -math.inf), gains)
            before = state["tokens"].reshape((batch, width, 1))
            best = ops.where(over, before, best)
        total = (ops.expand_dims(scores, axis=2) + gains).reshape((batch, width * n_each))
        state["scores"], place = ops.top_k(total, width)
        parent = ops.astype(place, dtypes.int64) // n_each
        chosen = ops.take_along_axis(best.reshape((batch, width * n_each)), place, axis=1)
        rows = (parent + width * ops.arange(batch).reshape((batch, 1))).reshape((batch * width,))
        leaves = packed_like(cache, form)
        state["cache"][:] = [_of_rows(x, lambda x: ops.take(x, rows, axis=0)) for x in leaves]
        state["tokens"] = chosen.reshape((batch * width,))
        over = ops.take_along_axis(ended, parent, axis=1)
        for end in ends:
            over = over | (chosen == end)
        state["ended"] = over
        return ops.sum(ops.max(logits, axis=-1)), chosen, parent, over

    return step


def _traced_back(parents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The texts at the end of the search, (batch, width, n)."""
    n, batch, width = tokens.shape
    found = np.empty((batch, width, n), np.int64)
    place = np.tile(np.arange(width), (batch, 1))
    for step in range(n - 1, -1, -1):
        found[:, :, step] = np.take_along_axis(tokens[step], place, axis=1)
        place = np.take_along_axis(parents[step], place, axis=1)
    return found


def _ranked(
    found: np.ndarray, scores: np.ndarray, ends: tuple[int, ...], length_penalty: float
) -> Beams:
    lengths = np.full(scores.shape, found.shape[2], np.int64)
    over = np.isin(found, ends)
    lengths = np.where(over.any(axis=2), over.argmax(axis=2) + 1, lengths)
    scores = scores / lengths.astype(np.float64) ** length_penalty
    order = np.argsort(-scores, axis=1, kind="stable")
    return Beams(
        np.take_along_axis(found, order[:, :, None], axis=1),
        np.take_along_axis(scores, order, axis=1),
        np.take_along_axis(lengths, order, axis=1),
    )
