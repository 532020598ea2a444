"""Floor 3: still pictures of training, with labelled axes, safe colours and a text alternative."""

from chainrule.plots.attention import attention_map
from chainrule.plots.curves import gradients_through_time, learning_curves, schedule_curve
from chainrule.plots.grids import Cell, correlation_lines, image_grid, picture_table
from chainrule.plots.images import confusion_matrix, weight_images

__all__ = [
    "Cell",
    "attention_map",
    "confusion_matrix",
    "correlation_lines",
    "gradients_through_time",
    "image_grid",
    "learning_curves",
    "picture_table",
    "schedule_curve",
    "weight_images",
]
