"""``Trainer.profile``: where the time of training steps goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.program import profile_steps
from chainrule.training.probe import mode
from chainrule.training.session import rows_a_step

if TYPE_CHECKING:
    from chainrule.program.compiler.profile import Profile

MOST_STEPS = 200  # of a window: enough for steady figures
AUGMENTED_STEPS = 20  # of it where each needs a batch of its own in memory


def profile_training(trainer: Any, data: Any, batch_size: Any, seconds: float) -> Profile:
    """Do what ``Trainer.profile`` describes; arguments as there."""
    train = trainer.prepare_training(data)
    rows = rows_a_step(trainer, batch_size, len(train))
    trainer.optimizer.initialise(trainer.model)
    parts = train.epoch_parts(rows, trainer.seed, 0)
    # full batches; of those in buckets the widest
    width, order = max(parts, key=lambda part: (part[1].shape[1], part[0] or 0))
    if hasattr(trainer.optimizer, "bind"):
        trainer.optimizer.bind(-(-len(train) // rows))
    micro = -(-rows // trainer.gradient_accumulation)
    program = trainer.training_program((), micro, len(train.inputs))
    if train.augmentation is None:
        arrays, order = train.cut(width).taken(order[:MOST_STEPS])
    else:  # what the steps take is measured, not how it is made
        order = order[:AUGMENTED_STEPS]
        arrays = train.batch(order.reshape(-1), 0, trainer.seed)
        order = np.arange(order.size).reshape(order.shape)
    state = [trainer.model, trainer.loss, trainer.optimizer]
    with mode(trainer.model, True), trainer.drawing():
        return profile_steps(program, state, arrays, order, seconds=seconds)
