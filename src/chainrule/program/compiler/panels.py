"""State in panels: what native code works on, and the plain matrices that users see."""

from __future__ import annotations

import numpy as np

from chainrule.program.compiler.machine import PanelRecord


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
