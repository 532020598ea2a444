"""``Embedding``: a learned row of numbers for each word, user or category."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DtypeError, IndexRangeError
from chainrule.nn import init
from chainrule.nn.checks import positive_integer
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class Embedding(Module):
    """Look rows up in a table: y = W[i]. The rows begin as N(0, 1).

    Args:
        num_embeddings: Rows of the table, at least 1.
        embedding_dim: Numbers in a row, at least 1.
        padding_idx: Row that begins as zeros and gets no gradient, for the filling of short
            sequences; negative values count from the end.
        dtype: Floating type of the table.

    Attributes: ``weight`` (num_embeddings, embedding_dim).

    Shape: integers (...) → output (..., embedding_dim).

    Raises:
        IndexRangeError: An index is negative or not below num_embeddings.
        DtypeError: The indices are not integers.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> table = nn.Embedding(10, 4, padding_idx=0)
    >>> table(cr.asarray([[3, 1, 0]])).shape
    (1, 3, 4)
    """

    weight: Array

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.num_embeddings = positive_integer(num_embeddings, "Embedding: num_embeddings")
        self.embedding_dim = positive_integer(embedding_dim, "Embedding: embedding_dim")
        self.padding_idx = self._position(padding_idx)
        rows = init.normal((self.num_embeddings, self.embedding_dim), dtype=dtype)
        if self.padding_idx is not None:
            is_padding = ops.arange(self.num_embeddings) == self.padding_idx
            rows = ops.where(ops.expand_dims(is_padding, axis=1), 0.0, rows)
        self.weight = Parameter(rows)

    def _position(self, padding_idx: int | None) -> int | None:
        n = self.num_embeddings
        if padding_idx is None:
            return None
        if not -n <= padding_idx < n:
            raise ArgumentError(
                "Embedding: padding_idx names no row",
                expected=f"0 to {n - 1}, or −1 to −{n} from the end",
                got=str(padding_idx),
                where=str(here()),
            )
        return padding_idx % n

    def forward(self, indices: Any) -> Array:
        """Shape: (...) integers → (..., embedding_dim)."""
        rows: Array = ops.as_value(indices)
        self._check(rows)
        found: Array = ops.bind("gather", self.weight, ops.expand_dims(rows, axis=-1))
        if self.padding_idx is None:
            return found
        is_padding = ops.expand_dims(rows == self.padding_idx, axis=-1)
        return ops.where(is_padding, ops.stop_gradient(found), found)

    def _check(self, rows: Array) -> None:
        """Refuse wrong indices here where they are known; in a Program the gather does."""
        if not dtypes.is_integer(rows.dtype):
            raise DtypeError(
                f"{self!r} looks up rows by number",
                expected="integers",
                got=f"{rows.dtype} of shape {rows.shape}",
                fix="indices.astype('int64'); numbers that measure something go to nn.Linear",
                where=str(here()),
            )
        if not rows.is_concrete:
            return
        wrong = np.argwhere((rows.data < 0) | (rows.data >= self.num_embeddings))
        if len(wrong):
            place = tuple(int(i) for i in wrong[0])
            raise IndexRangeError(
                f"{self!r} has no row {rows.data[place]}",
                expected=f"0 to {self.num_embeddings - 1}",
                got=f"{rows.data[place]} at {list(place)}",
                fix="num_embeddings is the largest index plus one",
                where=str(here()),
            )

    def extra_repr(self) -> str:
        """Sizes, and the padding row if there is one."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
