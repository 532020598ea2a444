"""Tables that several commands print."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from chainrule.data import ArrayDataset


def per_class(logits: np.ndarray, test: ArrayDataset, names: list[str]) -> Table:
    """A table of recall, precision and the commonest mistake of each class."""
    chosen = logits.argmax(axis=1)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("class", "samples", "recall", "precision", "most often taken for"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    labels = np.asarray(test.targets)
    for number, name in enumerate(names):
        mine, picked = labels == number, chosen == number
        hits = int((mine & picked).sum())
        wrong = np.bincount(chosen[mine & ~picked], minlength=len(names))
        table.add_row(
            name,
            str(int(mine.sum())),
            f"{hits / max(int(mine.sum()), 1):.3f}",
            f"{hits / max(int(picked.sum()), 1):.3f}",
            f"{names[wrong.argmax()]} ({wrong.max()}×)" if wrong.any() else "–",
        )
    return table
