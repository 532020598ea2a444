"""Floor 3: still pictures of training, with labelled axes, safe colours and a text alternative."""

from chainrule.plots.curves import learning_curves, schedule_curve
from chainrule.plots.images import confusion_matrix, weight_images

__all__ = ["confusion_matrix", "learning_curves", "schedule_curve", "weight_images"]
