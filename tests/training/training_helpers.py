"""Small losses, models and data that the training tests share."""

import numpy as np

from chainrule import nn, ops, optim, random
from chainrule.training import Trainer


def cross_entropy(prediction, target, sample_weight=None):
    own = ops.take_along_axis(prediction, target.reshape((-1, 1)), axis=1)[:, 0]
    losses = ops.logsumexp(prediction, axis=1) - own
    if sample_weight is None:
        return losses.mean()
    return (losses * sample_weight).sum() / sample_weight.sum()


def squared_error(prediction, target, sample_weight=None):
    losses = ops.mean(ops.square(prediction - target), axis=1)
    if sample_weight is None:
        return losses.mean()
    return (losses * sample_weight).sum() / sample_weight.sum()


def make_data(n=100, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    noise = rng.normal(scale=0.3, size=n)
    return x, (x[:, 0] * x[:, 1] + noise > 0).astype(np.int64)


def make_trainer(*, dropout=0.25, seed=3, optimizer=None, model_seed=5, **options):
    random.seed(model_seed)
    layers = [nn.Linear(2, 8), nn.Dropout(dropout), nn.Linear(8, 2)]
    model = nn.Sequential(*layers)
    options = {"loss": cross_entropy, "metrics": ["accuracy"], "batch_size": 16, **options}
    return Trainer(model, optimizer=optimizer or optim.Adam(0.02), seed=seed, **options)


def weight_bits(trainer):
    return b"".join(value.numpy().tobytes() for value in trainer.model.state_dict().values())
