"""What all ways to write need: prompts, Programs that are kept with their model, room, errors."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.array import Array, asarray
from chainrule.errors import ArgumentError, DataError, NonFiniteError
from chainrule.ops.origin import here
from chainrule.program import CompiledFunction, compile
from chainrule.tree import Structure, flatten, unflatten

#: tokens of a prompt that are read at once; what is left is read one by one
BLOCK = 64
#: the smallest room of a cache, so that short texts of all lengths share a Program
LEAST_CAPACITY = 64

_programs: weakref.WeakKeyDictionary[Any, dict[Any, CompiledFunction]] = weakref.WeakKeyDictionary()


def kept_program(model: Any, key: Any, make: Callable[[], Callable[..., Any]]) -> CompiledFunction:
    """The compiled function that belongs to a model; made on first use.

    Args:
        model: It is kept no longer than this.
        key: What else decides the Program; its last entry is the engine.
        make: Makes the step.
    """
    known = _programs.setdefault(model, {})
    if key not in known:
        known[key] = compile(make(), engine=key[-1])
    return known[key]


def as_prompt(prompt: Any, vocabulary_size: int) -> tuple[np.ndarray, bool]:
    """The prompt as int64 (batch, n), and whether it was one row without a batch.

    Raises:
        DataError: It is empty, holds no integers, or a token that the model does not know.
    """
    tokens = prompt.numpy() if isinstance(prompt, Array) else np.asarray(prompt)
    if tokens.dtype.kind not in "iu" or tokens.ndim not in (1, 2) or not tokens.size:
        raise DataError(
            "this is no prompt",
            expected="one token or more: integers (n,), or (batch, n)",
            got=f"{tokens.dtype} of shape {tokens.shape}",
            fix="tokenizer.encode(text); to begin from nothing, give a line feed"
            if tokens.dtype.kind in "UO" or not tokens.size
            else "",
            where=str(here()),
        )
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary_size:
        raise DataError(
            "the prompt holds a token that the model does not know",
            expected=f"0 to {vocabulary_size - 1}",
            got=str(low if low < 0 else high),
            fix="encode it by the tokenizer that the model was trained with",
            where=str(here()),
        )
    rows = np.atleast_2d(tokens).astype(np.int64)
    return rows, tokens.ndim == 1


def unequal_rows(prompt: Any) -> list[np.ndarray] | None:
    """The rows of a list of prompts of different lengths; None for any other prompt."""
    if not isinstance(prompt, list | tuple) or not prompt:
        return None
    rows = [row.numpy() if isinstance(row, Array) else np.asarray(row) for row in prompt]
    if any(row.ndim != 1 for row in rows) or len({len(row) for row in rows}) == 1:
        return None
    return rows


def as_stop(stop: int | Sequence[int] | None) -> tuple[int, ...]:
    """The tokens that end a text."""
    if stop is None:
        return ()
    return (int(stop),) if isinstance(stop, int | np.integer) else tuple(int(s) for s in stop)


def vocabulary_size(model: Any) -> int:
    """How many tokens a model knows.

    Raises:
        ArgumentError: It does not say: it can not write.
    """
    size = getattr(model, "vocabulary_size", None)
    if not isinstance(size, int):
        raise ArgumentError(
            f"{type(model).__name__} can not write tokens",
            expected="a model with vocabulary_size, such as models.GPT; see models.generation",
            got="no such attribute",
            where=str(here()),
        )
    return size


def check_count(n_tokens: Any) -> int:
    """How many tokens to write: a whole number ≥ 1.

    Raises:
        ArgumentError: It is something else.
    """
    if not isinstance(n_tokens, int | np.integer) or n_tokens < 1:
        raise ArgumentError(
            "n_tokens is out of range",
            expected="a whole number, 1 or more",
            got=repr(n_tokens),
            where=str(here()),
        )
    return int(n_tokens)


def capacity_for(model: Any, n: int) -> int:
    """Room for ``n`` tokens, rounded up to a power of two, at most what the model looks back on."""
    room = LEAST_CAPACITY
    while room < n:
        room *= 2
    limit = model.context_length
    return room if limit is None else min(room, int(limit))


def read(model: Any, tokens: np.ndarray, cache: Any, engine: str | None, *, rest: bool) -> Any:
    """The cache after some tokens, and how many of them it has read.

    Args:
        model: In evaluation mode.
        tokens: (batch, n).
        cache: Before them.
        engine: As for ``compile``.
        rest: Read the last ones too, one by one; False: whole blocks only.
    """

    def make() -> Callable[..., Any]:
        def read_block(model: Any, tokens: Array, cache: Any) -> Any:
            return model.next_logits(tokens, cache)[1]

        return read_block

    done = 0
    for size in (BLOCK, 1) if rest else (BLOCK,):
        program = kept_program(model, ("read", size, engine), make)
        while tokens.shape[1] - done >= size:
            piece = np.ascontiguousarray(tokens[:, done : done + size])
            cache = program(model, asarray(piece), cache)
            done += size
    return cache, done


def pack(cache: Any) -> tuple[list[Any], Structure]:
    """A cache as a flat list, which steps can write to, and how to build it again.

    Its tuples, and what else can only be made anew, are no place for state.
    """
    leaves, structure = flatten(cache)
    return [leaf.value for leaf in leaves], structure


def unpack(leaves: Sequence[Any], structure: Structure) -> Any:
    """The cache of a flat list."""
    return unflatten(structure, leaves)


def packed_like(cache: Any, structure: Structure) -> list[Any]:
    """The flat list of a cache that a model returned.

    Raises:
        ArgumentError: It is built in another way than the one that the model was given.
    """
    leaves, found = pack(cache)
    if found != structure:
        raise ArgumentError(
            "the model returned a cache of another form than it was given",
            expected="the same names and nesting of lists, tuples and dicts",
            got=f"{len(leaves)} Arrays",
            where=str(here()),
        )
    return leaves


def broken_logits(error: NonFiniteError) -> NonFiniteError:
    """The error that a writer sees where steps complain of a loss."""
    return NonFiniteError(
        "the model's logits are not finite, so no token can be chosen",
        expected="finite logits",
        got=error.got,
        fix="look at the weights: did the training diverge?",
        where=error.where,
    )
