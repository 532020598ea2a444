"""State in panels: what native code works on, and the plain matrices that users see."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.graph import Buffer
from chainrule.program.compiler.machine import PanelRecord


class PanelBuffer(Buffer):
    """State as the last steps left it; the plain matrix is made when somebody looks at it.

    Most state is read by the next steps only, which take the panels as they are.

    Args:
        record: How it lies.
        memory: The panels; the buffer takes them over.
    """

    __slots__ = ("_dtype", "_memory", "_plain", "record")

    def __init__(self, record: PanelRecord, memory: np.ndarray) -> None:
        self.device = "cpu"
        self.record = record
        self._dtype = memory.dtype
        self._memory: np.ndarray | None = memory
        self._plain: np.ndarray | None = None

    @property
    def data(self) -> np.ndarray:  # type: ignore[override]
        """The matrix."""
        memory, plain = self._memory, self._plain  # in this order: another thread may look too
        if plain is None:
            assert memory is not None
            plain = self._plain = from_panels(self.record, memory)
            self._memory = None  # not both for long
        return plain

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrix."""
        return self.record.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the matrix."""
        return self._dtype

    def panels(self, record: PanelRecord) -> np.ndarray | None:
        """The panels, not to be written to; None where they are gone or of another kind."""
        return self._memory if record == self.record else None


def panel_elements(record: PanelRecord) -> int:
    """Elements of memory, the last panel's filling included."""
    count = -(-record.shape[record.axis] // record.width)
    return count * record.width * record.shape[1 - record.axis]


def to_panels(record: PanelRecord, matrix: np.ndarray, memory: np.ndarray) -> None:
    """Fill ``memory`` with the matrix as ``[panels][other axis][width]``."""
    cut = matrix if record.axis == 0 else matrix.T
    count = -(-cut.shape[0] // record.width)
    view = memory.reshape(count, cut.shape[1], record.width)
    whole = cut.shape[0] // record.width
    if whole:
        panels = cut[: whole * record.width].reshape(whole, record.width, -1)
        view[:whole] = panels.transpose(0, 2, 1)
    if whole < count:
        view[whole] = 0
        view[whole, :, : cut.shape[0] - whole * record.width] = cut[whole * record.width :].T


def from_panels(record: PanelRecord, memory: np.ndarray) -> np.ndarray:
    """The matrix that ``memory`` holds in panels."""
    other = record.shape[1 - record.axis]
    panels = memory.reshape(-1, other, record.width).transpose(0, 2, 1)
    matrix = panels.reshape(-1, other)[: record.shape[record.axis]]
    return np.ascontiguousarray(matrix if record.axis == 0 else matrix.T)
