"""Transformer layers and stacks of them, under PyTorch's names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from chainrule.array import Array
from chainrule.nn import functional
from chainrule.nn.attention import MultiheadAttention
from chainrule.nn.checks import one_of, positive_integer
from chainrule.nn.dropout import Dropout
from chainrule.nn.linear import Identity, Linear
from chainrule.nn.module import Module
from chainrule.nn.normalization import LayerNorm
from chainrule.ops import dtypes
from chainrule.ops.spelling import answers_spelling

_ACTIVATIONS = {"relu": functional.relu, "gelu": functional.gelu}


def _dropout(p: float) -> Module:
    """No layer that draws where nothing is ever dropped."""
    return Dropout(p) if p else Identity()


class _Block(Module):
    """The two layers after attention, and the order of norms and sums."""

    norm_first: bool
    activation: str | Callable[[Array], Array]
    linear1: Linear
    linear2: Linear
    dropout: Module

    def _set_activation(self, activation: str | Callable[[Array], Array]) -> None:
        if isinstance(activation, str):
            one_of(activation, tuple(_ACTIVATIONS), f"{type(self).__name__}: activation")
        self.activation = activation

    def _feed_forward(self, x: Array) -> Array:
        hidden = self.linear1(x)
        chosen = self.activation
        hidden = _ACTIVATIONS[chosen](hidden) if isinstance(chosen, str) else chosen(hidden)
        y: Array = self.linear2(self.dropout(hidden))
        return y

    def _around(
        self, x: Array, norm: Module, dropout: Module, branch: Callable[[Array], Array]
    ) -> Array:
        """x + branch(x), with the norm before the branch or after the sum."""
        if self.norm_first:
            y: Array = x + dropout(branch(norm(x)))
        else:
            y = norm(x + dropout(branch(x)))
        return y


class TransformerEncoderLayer(_Block):
    """Self-attention, then two layers for each place; around each a sum with its input, and a norm.

    Args:
        d_model: Features, at least 1.
        nhead: Heads, which divide d_model.
        dim_feedforward: Units of the hidden layer, at least 1.
        dropout: Probability of dropping a weight, a hidden unit, a branch's output, in [0, 1).
        activation: ``"relu"``, ``"gelu"`` or a function of an Array.
        layer_norm_epsilon: Added to the variances, > 0.
        batch_first: Arrays are (batch, places, features) instead of (places, batch, features).
        norm_first: The norm stands before each branch (pre-norm: deep stacks learn without
            warm-up) instead of after the sum (post-norm, as in the paper).
        bias: Whether Linears and norms have shifts.
        dtype: Floating type of the parameters.

    Attributes: ``self_attn``, ``linear1``, ``linear2``, ``norm1``, ``norm2``; ``dropout``,
    ``dropout1``, ``dropout2``.

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.1; pre-norm: Xiong et al.
    2020, "On layer normalization in the Transformer architecture".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)(cr.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    @answers_spelling
    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Array], Array] = "relu",
        layer_norm_epsilon: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = _dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.norm_first = bool(norm_first)
        self.norm1 = LayerNorm(d_model, layer_norm_epsilon, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_epsilon, bias=bias, dtype=dtype)
        self.dropout1 = _dropout(dropout)
        self.dropout2 = _dropout(dropout)
        self._set_activation(activation)

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Array:
        """The sequence after the layer.

        Args:
            src: (places, batch, d_model), or (places, d_model).
            src_mask: ``attn_mask`` of the attention: True is left out, floats are added.
            src_key_padding_mask: (batch, places): True leaves a place out.
            is_causal: Each place sees only those up to itself.

        Shape: that of ``src``.
        """

        def attend(x: Array) -> Array:
            y: Array = self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )[0]
            return y

        x = self._around(src, self.norm1, self.dropout1, attend)
        return self._around(x, self.norm2, self.dropout2, self._feed_forward)


class TransformerDecoderLayer(_Block):
    """Self-attention, attention to an encoder's output, then two layers for each place.

    Arguments as ``TransformerEncoderLayer``.

    Args:
        d_model: Features, at least 1.
        nhead: Heads, which divide d_model.
        dim_feedforward: Units of the hidden layer, at least 1.
        dropout: Probability of dropping, in [0, 1).
        activation: ``"relu"``, ``"gelu"`` or a function of an Array.
        layer_norm_epsilon: Added to the variances, > 0.
        batch_first: Arrays are (batch, places, features).
        norm_first: Pre-norm instead of post-norm.
        bias: Whether Linears and norms have shifts.
        dtype: Floating type of the parameters.

    Attributes: ``self_attn``, ``multihead_attn``, ``linear1``, ``linear2``, ``norm1`` … ``norm3``;
    ``dropout``, ``dropout1`` … ``dropout3``.

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.1.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> layer(cr.ones((3, 4, 8)), cr.ones((3, 5, 8)), tgt_is_causal=True).shape
    (3, 4, 8)
    """

    @answers_spelling
    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Array], Array] = "relu",
        layer_norm_epsilon: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
        )
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = _dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.norm_first = bool(norm_first)
        self.norm1 = LayerNorm(d_model, layer_norm_epsilon, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_epsilon, bias=bias, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_epsilon, bias=bias, dtype=dtype)
        self.dropout1 = _dropout(dropout)
        self.dropout2 = _dropout(dropout)
        self.dropout3 = _dropout(dropout)
        self._set_activation(activation)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Array:
        """The sequence after the layer.

        Args:
            tgt: (places, batch, d_model), or (places, d_model).
            memory: The encoder's output, (source places, batch, d_model).
            tgt_mask: For the self-attention: True is left out, floats are added.
            memory_mask: For the attention to ``memory``.
            tgt_key_padding_mask: (batch, places): True leaves a place out.
            memory_key_padding_mask: (batch, source places): True leaves a place out.
            tgt_is_causal: Each place sees only those up to itself.
            memory_is_causal: Likewise of ``memory``.

        Shape: that of ``tgt``.
        """

        def attend(x: Array) -> Array:
            y: Array = self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )[0]
            return y

        def look_up(x: Array) -> Array:
            y: Array = self.multihead_attn(
                x,
                memory,
                memory,
                memory_key_padding_mask,
                False,
                memory_mask,
                is_causal=memory_is_causal,
            )[0]
            return y

        x = self._around(tgt, self.norm1, self.dropout1, attend)
        x = self._around(x, self.norm2, self.dropout2, look_up)
        return self._around(x, self.norm3, self.dropout3, self._feed_forward)


class TransformerEncoder(Module):
    """A stack of encoder layers, and a norm after the last (which pre-norm layers need).

    As in PyTorch all layers are copies of the one given: they begin equal.

    Args:
        encoder_layer: What is copied.
        num_layers: Copies, at least 1.
        norm: Applied to the last output; None: nothing is.

    Attributes: ``layers`` and ``norm``.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> nn.TransformerEncoder(layer, 2)(cr.ones((3, 5, 8)), is_causal=True).shape
    (3, 5, 8)
    """

    def __init__(
        self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        self.num_layers = positive_integer(num_layers, "TransformerEncoder: num_layers")
        self.layers = [copy.deepcopy(encoder_layer) for _ in range(self.num_layers)]
        self.norm = norm

    def forward(
        self,
        src: Any,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Array:
        """The sequence after all layers; arguments as those of the layer.

        Args:
            src: (places, batch, d_model), or (places, d_model).
            mask: True is left out, floats are added.
            src_key_padding_mask: (batch, places): True leaves a place out.
            is_causal: Each place sees only those up to itself; no mask needs to be given.

        Shape: that of ``src``.
        """
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        y: Array = x if self.norm is None else self.norm(x)
        return y


class TransformerDecoder(Module):
    """A stack of decoder layers, and a norm after the last (which pre-norm layers need).

    As in PyTorch all layers are copies of the one given: they begin equal.

    Args:
        decoder_layer: What is copied.
        num_layers: Copies, at least 1.
        norm: Applied to the last output; None: nothing is.

    Attributes: ``layers`` and ``norm``.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)
    >>> decoder(cr.ones((4, 3, 8)), cr.ones((5, 3, 8)), tgt_is_causal=True).shape
    (4, 3, 8)
    """

    def __init__(
        self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        self.num_layers = positive_integer(num_layers, "TransformerDecoder: num_layers")
        self.layers = [copy.deepcopy(decoder_layer) for _ in range(self.num_layers)]
        self.norm = norm

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Array:
        """The sequence after all layers; arguments as those of the layer.

        Args:
            tgt: (places, batch, d_model), or (places, d_model).
            memory: The encoder's output, (source places, batch, d_model).
            tgt_mask: For the self-attention: True is left out, floats are added.
            memory_mask: For the attention to ``memory``.
            tgt_key_padding_mask: (batch, places): True leaves a place out.
            memory_key_padding_mask: (batch, source places): True leaves a place out.
            tgt_is_causal: Each place sees only those up to itself.
            memory_is_causal: Likewise of ``memory``.

        Shape: that of ``tgt``.
        """
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                tgt_is_causal,
                memory_is_causal,
            )
        y: Array = x if self.norm is None else self.norm(x)
        return y
