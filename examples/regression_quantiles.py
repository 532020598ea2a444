"""Intervals from quantiles: the pinball loss teaches a network where 80 % of the targets lie."""

import numpy as np

import chainrule as cr
from chainrule import nn, optim

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (2000, 1)).astype("f")
noise = rng.normal(size=(2000, 1)) * (0.1 + 0.3 * np.abs(x))
y = (np.sin(3 * x) + noise).astype("f")
train, test = slice(0, 1500), slice(1500, None)


def quantile_network(q):
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    trainer = cr.Trainer(
        model, loss=nn.PinballLoss(q), optimizer=optim.Adam(optim.Cosine(0.02, 1500)), batch_size=50
    )
    trainer.fit((x[train], y[train]), epochs=50, progress="none")
    return trainer.predict(x[test])


low, high = quantile_network(0.1), quantile_network(0.9)
inside = ((low <= y[test]) & (y[test] <= high)).mean()
narrow = np.abs(x[test]) < 0.2
width = high - low
print(f"{inside:.1%} of unseen targets lie within; wanted: 80 %")
print(
    f"width {width[narrow].mean():.2f} where the noise is small, {width[~narrow].mean():.2f} else"
)
assert 0.74 < inside < 0.86
assert width[narrow].mean() < width[~narrow].mean()
