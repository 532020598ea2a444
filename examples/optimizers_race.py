"""The same start, the same batches, ten optimizers."""

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

CANDIDATES = {
    "SGD": optim.SGD(0.1),
    "Momentum": optim.Momentum(0.1),
    "Nesterov": optim.Nesterov(0.1),
    "AdaGrad": optim.AdaGrad(0.1),
    "RMSProp": optim.RMSProp(0.01),
    "Adam": optim.Adam(0.01),
    "AdamW": optim.AdamW(0.01),
    "RAdam": optim.RAdam(0.01),
    "Lion": optim.Lion(0.003),
    "LAMB": optim.LAMB(0.02),
}
spirals = data.spirals(400, seed=0)


def train(optimizer):
    cr.random.seed(0)
    model = nn.Sequential(
        nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )
    trainer = cr.Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=50)
    return trainer.fit(spirals, epochs=60, progress="none")["loss"]


losses = {name: train(optimizer) for name, optimizer in CANDIDATES.items()}
for name, column in sorted(losses.items(), key=lambda item: item[1][-1]):
    print(f"{name:<9} after 10 epochs {column[9]:.3f}, after 60 {column[-1]:.4f}")
assert losses["Adam"][-1] < 0.05
assert losses["Adam"][-1] < losses["SGD"][-1], "spirals are hard for a constant small step"
assert all(np.isfinite(column).all() for column in losses.values())
