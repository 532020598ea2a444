"""What all pictures share: size, colours, saving with a text alternative."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Okabe and Ito's palette, told apart by readers with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#333333"
GRID = "#DDDDDD"


def new_figure(width: float, height: float) -> Any:
    """A figure of ``width`` × ``height`` inches that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def whole_ticks(axes: Any) -> None:
    """Ticks of the horizontal axis at whole numbers only, even if it shows a single one."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(locator)


def plain_axes(axes: Any, x_label: str, y_label: str) -> None:
    """Label the axes; leave only the two lines that carry ticks."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save(figure: Any, path: str | Path, description: str) -> Path:
    """Write a PNG whose metadata hold ``description`` for those who can not see it."""
    target = Path(path)
    figure.savefig(
        target, format="png", metadata={"Description": description, "Software": "chainrule"}
    )
    return target
