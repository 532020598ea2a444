"""GPT: a stack of Transformer blocks that reads text from left to right and names the next token.

    tokens   (batch, places)
    wte, wpe    a row for the token + a row for the place; dropout
    h.0 … h.L−1
        x + attn(ln_1(x))    each place attends to itself and those before it
        x + mlp(ln_2(x))     width → 4 · width, GELU, → width
    ln_f, lm_head    norm, then a logit for each word of the vocabulary

Norms stand before the branches (pre-norm); the last one follows the stack. Names and shapes are
those of GPT-2's released weights, save that Linears hold (out, in): see ``models.load_gpt2``.

Reference: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3;
Radford et al. 2018, "Improving language understanding by generative pre-training".
"""

from __future__ import annotations

import math
from typing import Any

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.models.generation import Cache
from chainrule.models.heads import (
    Memory,
    attended,
    dividing,
    joined,
    split,
    visible_places,
    written,
)
from chainrule.models.registry import register
from chainrule.nn import functional
from chainrule.nn.checks import one_of, positive_integer
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class CausalSelfAttention(nn.Module):
    """Heads that attend to their own place and those before it.

    Args:
        width: Features, which the heads divide.
        num_heads: Heads, at least 1.
        bias: Whether the projections add a bias.
        dropout: Probability of dropping a weight and an output, in [0, 1).

    Attributes: ``c_attn`` projects to queries, keys and values; ``c_proj`` mixes the heads.

    Shape: (batch, places, width) → the same.
    """

    def __init__(self, width: int, num_heads: int, bias: bool = True, dropout: float = 0.0) -> None:
        self.num_heads = num_heads
        self.c_attn = nn.Linear(width, 3 * width, bias)
        self.c_proj = nn.Linear(width, width, bias)
        self.attn_dropout = nn.Dropout(dropout) if dropout else None
        self.resid_dropout = nn.Dropout(dropout) if dropout else None

    def forward(
        self, x: Array, memory: Memory | None = None, seen: Array | None = None
    ) -> tuple[Array, Memory | None]:
        """The attended values, and the memory with what was read.

        Args:
            x: (batch, places, width).
            memory: Keys and values of what was read before; None: nothing was.
            seen: int64 scalar, how much of the memory is filled; only with a memory.
        """
        q, k, v = (split(part, self.num_heads) for part in _thirds(self.c_attn(x)))
        if memory is None or seen is None:
            y = attended(q, k, v, is_causal=True, dropout=self.attn_dropout)
        else:
            memory = written(memory, k, v, seen)
            visible = visible_places(x.shape[1], memory[0].shape[2], seen)
            y = attended(q, *memory, visible, dropout=self.attn_dropout)
        y = self.c_proj(joined(y))
        return (y if self.resid_dropout is None else self.resid_dropout(y)), memory


def _thirds(x: Array) -> tuple[Array, Array, Array]:
    width = x.shape[-1] // 3
    return x[..., :width], x[..., width : 2 * width], x[..., 2 * width :]


class FeedForward(nn.Module):
    """Two layers for each place, with GELU between them.

    Args:
        width: Features.
        hidden: Features between the layers; as published 4 · width.
        bias: Whether the layers add a bias.
        dropout: Probability of dropping an output, in [0, 1).
        gelu: ``"exact"`` or ``"tanh"``.

    Attributes: ``c_fc`` and ``c_proj``.

    Shape: (..., width) → the same.
    """

    def __init__(
        self, width: int, hidden: int, bias: bool = True, dropout: float = 0.0, gelu: str = "tanh"
    ) -> None:
        self.c_fc = nn.Linear(width, hidden, bias)
        self.c_proj = nn.Linear(hidden, width, bias)
        self.approximate = {"exact": "none", "tanh": "tanh"}[gelu]
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Array) -> Array:
        """Shape: (..., width) → the same."""
        y: Array = self.c_proj(functional.gelu(self.c_fc(x), self.approximate))
        return y if self.dropout is None else self.dropout(y)


class GPTBlock(nn.Module):
    """Attention and two layers, each behind a norm and added to its input.

    Args:
        width: Features, which the heads divide.
        num_heads: Heads, at least 1.
        hidden: Features inside the feed-forward layers.
        bias: Whether Linears and norms have shifts.
        dropout: Probability of dropping, in [0, 1).
        gelu: ``"exact"`` or ``"tanh"``.
        layer_norm_epsilon: Added to the variances, > 0.

    Attributes: ``ln_1``, ``attn``, ``ln_2``, ``mlp``.

    Shape: (batch, places, width) → the same.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        hidden: int,
        bias: bool = True,
        dropout: float = 0.0,
        gelu: str = "tanh",
        layer_norm_epsilon: float = 1e-5,
    ) -> None:
        self.ln_1 = nn.LayerNorm(width, layer_norm_epsilon, bias=bias)
        self.attn = CausalSelfAttention(width, num_heads, bias, dropout)
        self.ln_2 = nn.LayerNorm(width, layer_norm_epsilon, bias=bias)
        self.mlp = FeedForward(width, hidden, bias, dropout, gelu)

    def forward(
        self, x: Array, memory: Memory | None = None, seen: Array | None = None
    ) -> tuple[Array, Memory | None]:
        """The sequence after the block, and the memory; arguments as those of the attention.

        Args:
            x: (batch, places, width).
            memory: Keys and values of what was read before.
            seen: int64 scalar, how much of the memory is filled.
        """
        attended, memory = self.attn(self.ln_1(x), memory, seen)
        x = x + attended
        return x + self.mlp(self.ln_2(x)), memory


class GPT(nn.Module):
    """Embeddings of tokens and places, blocks, a norm, a head.

    All weights begin as N(0, 0.02²); those of the two projections that end a block's branches as
    N(0, 0.02²/2L), so that the sum over L blocks does not grow; biases as 0.

    Args:
        vocabulary_size: Words, at least 1.
        context_length: Places that the model knows, at least 1.
        width: Features, which the heads divide.
        num_layers: Blocks L, at least 1.
        num_heads: Heads of each block, at least 1.
        bias: Whether Linears and norms have shifts (the head never has).
        tied: The head's weight is the embedding's: one matrix for both.
        dropout: Probability of dropping after the embeddings, in the attention and at the end of
            each branch, in [0, 1).
        gelu: ``"tanh"``, as published, or ``"exact"``.
        hidden: Features inside the feed-forward layers; None: 4 · width.
        layer_norm_epsilon: Added to the variances, > 0.

    Attributes: ``wte``, ``wpe``, ``h`` (the blocks), ``ln_f``, ``lm_head``.

    Shape: integers (batch, places) → logits (batch, places, vocabulary_size).

    >>> import chainrule as cr
    >>> model = GPT(65, 64, width=128, num_layers=4, num_heads=4, tied=False)
    >>> model.n_parameters
    818176
    >>> model(cr.asarray([[1, 2, 3]])).shape
    (1, 3, 65)
    """

    def __init__(
        self,
        vocabulary_size: int = 50257,
        context_length: int = 1024,
        *,
        width: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        bias: bool = True,
        tied: bool = True,
        dropout: float = 0.0,
        gelu: str = "tanh",
        hidden: int | None = None,
        layer_norm_epsilon: float = 1e-5,
    ) -> None:
        self.vocabulary_size = positive_integer(vocabulary_size, "GPT: vocabulary_size")
        self.context_length = positive_integer(context_length, "GPT: context_length")
        self.num_heads, self.width = dividing(num_heads, width, "GPT")
        one_of(gelu, ("tanh", "exact"), "GPT: gelu")
        inner = 4 * width if hidden is None else positive_integer(hidden, "GPT: hidden")
        self.wte = nn.Embedding(vocabulary_size, width)
        self.wpe = nn.Embedding(context_length, width)
        self.drop = nn.Dropout(dropout) if dropout else None
        self.h = [
            GPTBlock(width, num_heads, inner, bias, dropout, gelu, layer_norm_epsilon)
            for _ in range(positive_integer(num_layers, "GPT: num_layers"))
        ]
        self.ln_f = nn.LayerNorm(width, layer_norm_epsilon, bias=bias)
        self.lm_head = nn.Linear(width, vocabulary_size, bias=False)
        self._draw()
        if tied:
            self.lm_head.weight = self.wte.weight

    def _draw(self) -> None:
        for path, module in self.named_modules():
            if not isinstance(module, nn.Linear | nn.Embedding):
                continue
            ends_a_branch = path.endswith("c_proj")
            deviation = 0.02 / math.sqrt(2 * len(self.h)) if ends_a_branch else 0.02
            drawn = nn.init.normal(module.weight.shape, standard_deviation=deviation)
            module.weight = nn.Parameter(drawn)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias = nn.Parameter(nn.init.zeros(module.bias.shape))

    def forward(self, tokens: Any) -> Array:
        """Logits of the token that follows each place.

        Args:
            tokens: Integers (batch, places), at most context_length places.

        Shape: (batch, places) → (batch, places, vocabulary_size).

        Raises:
            ShapeError: Too many places, or no two axes.
        """
        given: Array = ops.as_value(tokens)
        if given.ndim != 2 or given.shape[1] > self.context_length:
            raise self._wrong_length(given.shape)
        x = self._embedded(given, ops.arange(given.shape[1]))
        for block in self.h:
            x, _ = block(x)
        logits: Array = self.lm_head(self.ln_f(x))
        return logits

    def _embedded(self, tokens: Array, places: Array) -> Array:
        x: Array = self.wte(tokens) + self.wpe(places)
        return x if self.drop is None else self.drop(x)

    def initial_cache(self, batch: int, capacity: int | None = None) -> Cache:
        """What ``next_logits`` remembers, before anything is read.

        Args:
            batch: Sequences side by side, at least 1.
            capacity: Tokens that will be read at most; None: context_length.

        Returns:
            ``seen``, an int64 scalar: tokens read; ``layers``: keys and values of each block, zeros
            (batch, heads, capacity, head_dim).

        Raises:
            ShapeError: The model does not know so many places.
        """
        rows = self.context_length if capacity is None else capacity
        positive_integer(rows, "GPT.initial_cache: capacity")
        if rows > self.context_length:
            raise self._wrong_length((batch, rows))
        shape = (batch, self.num_heads, rows, self.width // self.num_heads)
        empty = [ops.zeros(shape, dtype=self.wte.weight.dtype) for _ in range(2 * len(self.h))]
        pairs = list(zip(empty[0::2], empty[1::2], strict=True))
        return {"seen": ops.zeros((), dtype=dtypes.int64), "layers": pairs}

    def next_logits(self, tokens: Any, cache: Cache) -> tuple[Array, Cache]:
        """Read on: logits of what follows the last token, and the new cache.

        Shapes do not depend on how much was read, so one Program serves every step.

        Args:
            tokens: Integers (batch, n): those that follow what the cache has seen.
            cache: From ``initial_cache`` or the call before; there must be room for n more.

        Shape: (batch, n) → (batch, vocabulary_size).
        """
        given: Array = ops.as_value(tokens)
        seen = cache["seen"]
        x = self._embedded(given, seen + ops.arange(given.shape[1]))
        layers = []
        for block, memory in zip(self.h, cache["layers"], strict=True):
            x, memory = block(x, memory, seen)
            layers.append(memory)
        logits: Array = self.lm_head(self.ln_f(x[:, -1]))
        return logits, {"seen": seen + given.shape[1], "layers": layers}

    def _wrong_length(self, shape: tuple[int, ...]) -> ShapeError:
        return ShapeError(
            f"GPT does not fit tokens of shape {shape}",
            expected=f"(batch, places), at most {self.context_length} places",
            got=str(shape),
            fix="shorter pieces of the text, or a model with a larger context_length",
            where=str(here()),
        )

    def extra_repr(self) -> str:
        """Vocabulary, places and whether the head is tied."""
        tied = self.lm_head.weight.node is self.wte.weight.node
        sizes = f"vocabulary_size={self.vocabulary_size}, context_length={self.context_length}"
        return f"{sizes}, tied={tied}"


@register((1024,), family="GPT", source="Radford et al. 2019", takes="tokens")
def gpt2(vocabulary_size: int = 50257, context_length: int = 1024, dropout: float = 0.1) -> GPT:
    """GPT-2, the smallest: 12 layers of width 768.

    Args:
        vocabulary_size: Tokens.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return GPT(
        vocabulary_size, context_length, width=768, num_layers=12, num_heads=12, dropout=dropout
    )


@register((1024,), family="GPT", source="Radford et al. 2019", takes="tokens")
def gpt2_medium(
    vocabulary_size: int = 50257, context_length: int = 1024, dropout: float = 0.1
) -> GPT:
    """GPT-2 with 24 layers of width 1024.

    Args:
        vocabulary_size: Tokens.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return GPT(
        vocabulary_size, context_length, width=1024, num_layers=24, num_heads=16, dropout=dropout
    )


@register((1024,), family="GPT", source="Radford et al. 2019", takes="tokens")
def gpt2_large(
    vocabulary_size: int = 50257, context_length: int = 1024, dropout: float = 0.1
) -> GPT:
    """GPT-2 with 36 layers of width 1280.

    Args:
        vocabulary_size: Tokens.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return GPT(
        vocabulary_size, context_length, width=1280, num_layers=36, num_heads=20, dropout=dropout
    )


@register((1024,), family="GPT", source="Radford et al. 2019", takes="tokens")
def gpt2_xl(vocabulary_size: int = 50257, context_length: int = 1024, dropout: float = 0.1) -> GPT:
    """GPT-2 with 48 layers of width 1600.

    Args:
        vocabulary_size: Tokens.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return GPT(
        vocabulary_size, context_length, width=1600, num_layers=48, num_heads=25, dropout=dropout
    )


@register((64,), family="GPT", source="Karpathy 2022", takes="tokens")
def char_gpt(
    vocabulary_size: int = 65,
    context_length: int = 64,
    bias: bool = False,
    tied: bool = True,
    dropout: float = 0.0,
) -> GPT:
    """A GPT for characters on an ordinary computer: 4 layers of width 128, the exact GELU.

    As nanoGPT's recipe for Shakespeare on a CPU has it: 804,096 parameters; with biases and a head
    of its own 818,176.

    Args:
        vocabulary_size: Characters.
        context_length: Places.
        bias: Whether Linears and norms have shifts.
        tied: The head's weight is the embedding's.
        dropout: Probability of dropping.
    """
    return GPT(
        vocabulary_size,
        context_length,
        width=128,
        num_layers=4,
        num_heads=4,
        bias=bias,
        tied=tied,
        dropout=dropout,
        gelu="exact",
    )
