"""``generate`` and ``stream``: token after token, each drawn from what the model expects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule import ops, random
from chainrule.array import Array, asarray
from chainrule.data import Tokenizer
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
    unequal_rows,
    unpack,
    vocabulary_size,
)
from chainrule.generation.choosing import Choice, choose
from chainrule.ops.origin import here
from chainrule.program import CompiledFunction, run_steps
from chainrule.training.pace import Pace
from chainrule.training.probe import mode
from chainrule.tree import Structure

#: seconds between looks at what was written
INTERVAL = 0.05


def generate(
    model: Any,
    prompt: Any,
    n_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    seed: int = 0,
    stop: int | Sequence[int] | None = None,
    cache: Any = True,
    engine: str | None = None,
) -> np.ndarray:
    """Let a model write on.

    The same seed gives the same tokens, on any number of threads, with and without the cache, and
    for a row of a batch whatever stands in the rows behind it. A model that looks back on a
    limited number of tokens begins anew with the last half of them whenever they are full.

    Args:
        model: Has ``vocabulary_size`` and ``context_length``, and logits (batch, n, vocabulary) of
            tokens (batch, n); with ``initial_cache`` and ``next_logits`` it need not read
            everything again for each token. See ``models.generation``.
        prompt: Tokens to begin with: integers (n,), or (batch, n) for several texts; or a list of
            rows of different lengths, of which those of one length are written together.
        n_tokens: The most to write, ≥ 1.
        temperature: Logits are divided by it; 0 takes the likeliest token.
        top_k: Draw among the k likeliest only; None: among all.
        top_p: Draw among the fewest likeliest whose probabilities sum to p or more, in (0, 1].
        seed: Fixes the draws.
        stop: A token that ends a text, or several such.
        cache: True: use the model's, if it has one. False: read everything again for each token.
            Or a cache to begin from, such as an encoder–decoder makes of its source.
        engine: As for ``compile``.

    Returns:
        int64 (n,) or (batch, n) of what follows the prompt. Rows that have ended are filled up
        with their last token; n is smaller than ``n_tokens`` if all have.

    Raises:
        ArgumentError: A setting is out of range, or the model can not write.
        DataError: The prompt is empty or holds unknown tokens.
        NonFiniteError: The model's logits are not finite.

    >>> from chainrule import models
    >>> random.seed(0)
    >>> model = models.GPT(10, 8, width=16, num_layers=1, num_heads=2)
    >>> generate(model, [1, 2, 3], 20, temperature=0.8, seed=1).shape
    (20,)
    """
    pieces = stream(
        model,
        prompt,
        n_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop=stop,
        cache=cache,
        engine=engine,
    )
    return np.concatenate(list(pieces), axis=-1)


def stream(
    model: Any,
    prompt: Any,
    n_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    seed: int = 0,
    stop: int | Sequence[int] | None = None,
    cache: Any = True,
    engine: str | None = None,
) -> Iterator[np.ndarray]:
    """As ``generate``, but gives the tokens while they are written, some at a time.

    Yields:
        int64 (n,) or (batch, n), n ≥ 1: the next tokens, about twenty times a second.
    """
    choice, ends, count = Choice(temperature, top_k, top_p), as_stop(stop), check_count(n_tokens)
    size = vocabulary_size(model)

    def write(prompt: Any) -> Iterator[np.ndarray]:
        rows, single = as_prompt(prompt, size)
        writer = _Writer(model, rows, count, choice, seed, cache, engine)
        return _streamed(writer, single, ends)

    unequal = unequal_rows(prompt)
    if unequal is None:
        return write(prompt)
    if not isinstance(cache, bool):
        raise ArgumentError(
            "prompts of different lengths can not write on from one cache",
            expected="cache=True or cache=False, or prompts of one length",
            got=type(cache).__name__,
            where=str(here()),
        )
    return _side_by_side(unequal, write)


def _side_by_side(
    rows: list[np.ndarray], write: Callable[[np.ndarray], Iterator[np.ndarray]]
) -> Iterator[np.ndarray]:
    """What follows prompts of several lengths, each length's written in a batch of its own.

    Args:
        rows: The prompts.
        write: Streams what follows prompts (batch, n).
    """
    lengths = np.array([len(row) for row in rows])
    places = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
    writers = [write(np.stack([rows[i] for i in alike])) for alike in places]
    return _joined(writers, places)


def _joined(
    writers: Sequence[Iterator[np.ndarray]], places: Sequence[np.ndarray]
) -> Iterator[np.ndarray]:
    """What several writers write, as far as all of them are.

    Args:
        writers: Each streams (batch, n).
        places: For each, the rows of the whole that are its own.
    """
    waiting = [np.empty((len(alike), 0), np.int64) for alike in places]
    last = [np.zeros((len(alike), 1), np.int64) for alike in places]
    while True:
        for i, writer in enumerate(writers):
            if not waiting[i].shape[1]:
                waiting[i] = next(writer, waiting[i])
        n = min((found.shape[1] for found in waiting if found.shape[1]), default=0)
        if not n:
            return
        together = np.empty((sum(map(len, places)), n), np.int64)
        for i, alike in enumerate(places):
            if waiting[i].shape[1]:
                found, waiting[i] = waiting[i][:, :n], waiting[i][:, n:]
                last[i] = found[:, -1:]
                together[alike] = found
            else:  # all of this length have ended
                together[alike] = last[i]
        yield together


def _streamed(writer: _Writer, single: bool, ends: tuple[int, ...]) -> Iterator[np.ndarray]:
    last: np.ndarray | None = None
    for found in writer.run():
        if ends:
            found, last = _ended(found, ends, last)
            if not found.shape[1]:
                return
        yield found[0] if single else found
        if last is not None and (last >= 0).all():
            return


def _ended(
    found: np.ndarray, ends: tuple[int, ...], last: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """New tokens with ended rows filled up, cut where all have ended.

    Returns:
        The tokens, and for each row the token that ended it, −1 for those that go on.
    """
    last = np.full(len(found), -1, np.int64) if last is None else last.copy()
    found = found.copy()
    for place in range(found.shape[1]):
        if (last >= 0).all():
            return found[:, :place], last
        column = np.where(last >= 0, last, found[:, place])
        found[:, place] = column
        last = np.where(np.isin(column, ends), column, last)
    return found, last


def write_text(
    model: Any, tokenizer: Tokenizer, prompt: str, n_tokens: int, **settings: Any
) -> Iterator[str]:
    """Let a model write text, piece by piece.

    Args:
        model: As for ``generate``.
        tokenizer: The one that the model was trained with.
        prompt: Text to begin with; at least one token.
        n_tokens: The most to write, ≥ 1.
        settings: Keywords of ``generate``.

    Yields:
        The text that follows the prompt, as it comes.
    """
    decode = tokenizer.stream()
    for tokens in stream(model, tokenizer.encode(prompt), n_tokens, **settings):
        text = decode(tokens)
        if text:
            yield text


class _Writer:
    """Runs the steps of one text (or a batch of them).

    ``history`` holds all tokens; the model sees those from ``start`` on, of which the cache has
    seen those up to ``read``.
    """

    def __init__(
        self,
        model: Any,
        prompt: np.ndarray,
        n_tokens: int,
        choice: Choice,
        seed: int,
        cache: Any,
        engine: str | None,
    ) -> None:
        self.model = model
        self.history = prompt
        self.n_tokens = n_tokens
        self.choice = choice
        self.engine = engine
        self.given = None if isinstance(cache, bool) else cache
        has_cache = hasattr(model, "next_logits")
        self.cached = has_cache and cache is not False
        needed = prompt.shape[1] + n_tokens - 1
        self.room = capacity_for(model, needed)
        if self.given is not None:
            self._check_given(has_cache, needed)
        self.endless = model.context_length is None
        self.settings = choice.settings(model.vocabulary_size)
        self.state: dict[str, Any] = {"key": random.key(seed), "drawn": asarray(0)}
        self.start = self.read = 0
        self.structure: Structure | None = None
        self.fresh = True

    def _check_given(self, has_cache: bool, needed: int) -> None:
        limit = self.model.context_length
        if not has_cache or (limit is not None and needed > limit):
            raise ArgumentError(
                "there is no writing on from this cache",
                expected="a model with next_logits"
                if not has_cache
                else f"at most {limit} tokens, prompt included: the model looks back on no more",
                got=type(self.model).__name__ if not has_cache else str(needed),
                where=str(here()),
            )

    def run(self) -> Iterator[np.ndarray]:
        """The new tokens, (batch, n) at a time."""
        pace, left = Pace(INTERVAL), self.n_tokens
        while left:
            began = time.perf_counter()
            with mode(self.model, False):
                if self.fresh or self._is_full():
                    self._begin()
                found, n_steps, warm = self._steps(min(pace.n_steps, left))
            pace.ran(n_steps, time.perf_counter() - began, warm)
            if found.shape[1]:
                left -= found.shape[1]
                yield found

    def _is_full(self) -> bool:
        return not self.endless and self.history.shape[1] - self.start > self.room

    def _begin(self) -> None:
        """Set the state to where the next token follows from the tokens from ``start`` on."""
        if self._is_full():
            half = max(1, int(self.model.context_length) // 2)
            self.start = self.history.shape[1] - half
        self.fresh = False
        seen = self.history[:, self.start :]
        if not self.cached:
            return
        cache = self.given
        if cache is None:
            cache = self.model.initial_cache(len(seen), self.room)
        cache, done = read(self.model, seen[:, :-1], cache, self.engine, rest=False)
        self.read = self.start + done
        leaves, self.structure = pack(cache)
        self.state |= {"cache": leaves, "tokens": asarray(self.history[:, self.read].copy())}

    def _steps(self, n: int) -> tuple[np.ndarray, int, bool]:
        """Run enough steps for up to ``n`` new tokens.

        Returns:
            The new tokens, (batch, m); the steps that ran; and whether nothing was compiled.
        """
        waiting = self.history[:, self.read + 1 :].T if self.cached else self.history[:, :0].T
        if not self.cached:
            n = self._fill_window(n)
        elif self.endless:
            n += len(waiting)
        else:
            n = min(n + len(waiting), self.room - (self.read - self.start))
        forced = np.full((n, len(self.history)), -1, np.int64)
        forced[: len(waiting)] = waiting[:n]
        program = self._program()
        known = program.n_compilations
        try:
            _, found = run_steps(
                program, [self.model, self.state, self.settings], [forced], np.arange(n)[:, None]
            )
        except NonFiniteError as error:
            raise broken_logits(error) from None
        new = found[len(waiting) :].T
        self.read += n if self.cached else 0
        self.history = np.concatenate([self.history, new], axis=1)
        return new, n, program.n_compilations == known

    def _program(self) -> CompiledFunction:
        room = 0 if self.cached and self.endless else self.room
        form = self.structure if self.cached else None
        key = (form, self.choice.kind, len(self.history), room, self.engine)

        def make() -> Callable[..., Any]:
            if form is None:
                return _plain_step(self.choice.kind)
            return _cached_step(self.choice.kind, form)

        return kept_program(self.model, key, make)

    def _fill_window(self, n: int) -> int:
        """Lay out the tokens that are to be read again in each step; returns how many may run."""
        seen = self.history[:, self.start :]
        while self.endless and seen.shape[1] + n - 1 > self.room:
            self.room *= 2
        window = np.zeros((len(seen), self.room), np.int64)
        window[:, : seen.shape[1]] = seen
        self.state |= {"window": asarray(window), "seen": asarray(seen.shape[1])}
        return min(n, self.room - seen.shape[1] + 1)


def _draw(kind: str, logits: Array, state: Any, settings: Any) -> Array:
    key = random.fold_in(state["key"], state["drawn"])
    return choose(kind, logits, key, settings)


def _cached_step(kind: str, form: Structure) -> Callable[..., Any]:
    """Make a step that reads one token and gives the next: the one that is forced, or a choice."""

    def step(model: Any, state: Any, settings: Any, forced: Array) -> Any:
        tokens = ops.expand_dims(state["tokens"], axis=1)
        logits, cache = model.next_logits(tokens, unpack(state["cache"], form))
        state["cache"][:] = packed_like(cache, form)
        choice = _draw(kind, logits, state, settings)
        given = forced[0] >= 0
        state["tokens"] = ops.where(given, forced[0], choice)
        # the draws are counted, so that they do not depend on how the prompt was read
        state["drawn"] = state["drawn"] + ops.where(given[0], 0, 1)
        return ops.sum(ops.max(logits, axis=-1)), state["tokens"]

    return step


def _plain_step(kind: str) -> Callable[..., Any]:
    """Make a step that reads everything again; what lies behind the last token is not looked at."""

    def step(model: Any, state: Any, settings: Any, forced: Array) -> Any:
        window, seen = state["window"], state["seen"]
        place = ops.reshape(seen - 1, (1,))
        logits = ops.take(model(window), place, axis=1)[:, 0]
        tokens = _draw(kind, logits, state, settings)
        places = ops.arange(window.shape[1]).reshape((1, -1))
        state["window"] = ops.where(places == seen, ops.expand_dims(tokens, axis=1), window)
        state["seen"] = seen + 1
        state["drawn"] = state["drawn"] + 1
        return ops.sum(ops.max(logits, axis=-1)), tokens

    return step
