"""Whether libraries did the same work: their losses, before their speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.driver import Measured
from benchmarks.models import Call, Steps
from benchmarks.workloads import Product, Workload

LOSS_TOLERANCE = 1e-3
"""Relative, over the first steps. Adam's first steps divide nearly equal numbers: a power of β₂ in
float32, or an ε before the bias correction (scikit-learn's), moves the losses by up to 4e-4."""

DROPOUT_TOLERANCE = 0.03
"""Relative, of the mean loss of a chunk trained with dropout, whose draws differ."""

PRODUCT_TOLERANCE = 1e-5
"""Of the largest element of a product."""

UNCHECKED = "not compared: PyTorch, which gives the reference, is not installed"


@dataclass(frozen=True)
class Verdict:
    """Whether the results of a library are those of the others; ``why`` says what differs."""

    equal: bool
    why: str = ""


def verdict(
    peer: str, workload: Workload, measured: Measured, reference: np.ndarray | None
) -> Verdict:
    """Compare the losses of the first steps, or the result of a call, with those in float64.

    Args:
        peer: Name of the library.
        workload: What it did.
        measured: What it gave.
        reference: Losses in float64, without dropout; None for a product or a call, and where
            PyTorch, which would give them, is not installed.
    """
    if measured.failure:
        return Verdict(False, measured.failure)
    if isinstance(workload, Product | Call):
        if measured.error is None:
            return Verdict(True, UNCHECKED)
        limit = workload.tolerance if isinstance(workload, Call) else PRODUCT_TOLERANCE
        return Verdict(measured.error < limit, f"result is off by {measured.error:.1e}")
    if reference is None:
        return Verdict(True, UNCHECKED)
    if isinstance(workload, Steps):
        return _by_losses(measured, reference, workload.tolerance)
    # for two classes scikit-learn has one output unit: the same at first, then another walk
    count = 1 if peer == "sklearn" and workload.sizes[-1] == 2 else len(reference)
    return _by_losses(measured, reference[:count], LOSS_TOLERANCE)


def _by_losses(measured: Measured, reference: np.ndarray, tolerance: float) -> Verdict:
    found = np.array(measured.losses[: len(reference)])
    if len(found) < len(reference):
        return Verdict(False, f"only {len(found)} losses")
    error = float(np.abs(found / reference - 1).max())
    return Verdict(error < tolerance, f"losses are off by {error:.1e}")


def dropout_verdict(mean_loss: float | None, others: list[float]) -> Verdict:
    """Compare the mean loss of a chunk with dropout with the median of all libraries'."""
    middle = float(np.median(others))
    error = abs((mean_loss if mean_loss is not None else np.inf) / middle - 1)
    return Verdict(error < DROPOUT_TOLERANCE, f"mean loss with dropout is off by {error:.1%}")
