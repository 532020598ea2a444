"""Whether libraries did the same work: their losses, before their speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.driver import Measured
from benchmarks.workloads import Network, Product

LOSS_TOLERANCE = 1e-3
"""Relative, over the first steps. Adam's first steps divide nearly equal numbers: a power of β₂ in
float32, or an ε before the bias correction (scikit-learn's), moves the losses by up to 4e-4."""

DROPOUT_TOLERANCE = 0.03
"""Relative, of the mean loss of a chunk trained with dropout, whose draws differ."""

PRODUCT_TOLERANCE = 1e-5
"""Of the largest element of a product."""


@dataclass(frozen=True)
class Verdict:
    """Whether the results of a library are those of the others; ``why`` says what differs."""

    equal: bool
    why: str = ""


def verdict(
    peer: str, workload: Network | Product, measured: Measured, reference: np.ndarray | None
) -> Verdict:
    """Compare the losses of the first steps with the reference's, a product with NumPy's.

    Args:
        peer: Name of the library.
        workload: What it did.
        measured: What it gave.
        reference: Losses in float64, without dropout; None for a product.
    """
    if measured.failure:
        return Verdict(False, measured.failure)
    if isinstance(workload, Product):
        error = measured.error if measured.error is not None else np.inf
        return Verdict(error < PRODUCT_TOLERANCE, f"result is off by {error:.1e}")
    assert reference is not None
    # for two classes scikit-learn has one output unit: the same at first, then another walk
    count = 1 if peer == "sklearn" and workload.sizes[-1] == 2 else len(reference)
    found = np.array(measured.losses[:count])
    if len(found) < count:
        return Verdict(False, f"only {len(found)} losses")
    error = float(np.abs(found / reference[:count] - 1).max())
    return Verdict(error < LOSS_TOLERANCE, f"losses are off by {error:.1e}")


def dropout_verdict(mean_loss: float | None, others: list[float]) -> Verdict:
    """Compare the mean loss of a chunk with dropout with the median of all libraries'."""
    middle = float(np.median(others))
    error = abs((mean_loss if mean_loss is not None else np.inf) / middle - 1)
    return Verdict(error < DROPOUT_TOLERANCE, f"mean loss with dropout is off by {error:.1%}")
