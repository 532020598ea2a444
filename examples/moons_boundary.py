"""Where a network says one class and where the other, drawn for two moons."""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule import data, nn, optim

cr.random.seed(0)
train, held_out = data.holdout(data.two_moons(500, noise=0.15, seed=1), 0.4, seed=0)


def trained(*layers):
    trainer = cr.Trainer(
        nn.Sequential(*layers),
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.Adam(0.02),
        metrics=["accuracy"],
        batch_size=50,
    )
    trainer.fit(train, epochs=60, progress="none")
    return trainer


line = trained(nn.Linear(2, 2))
curve = trained(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2))

# ask both for the probability of class 1 on a grid of points
low, high = train.inputs.min(axis=0) - 0.3, train.inputs.max(axis=0) + 0.3
columns, rows = np.meshgrid(np.linspace(low[0], high[0], 120), np.linspace(low[1], high[1], 90))
grid = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)

figure = Figure(figsize=(9, 3.6), layout="constrained")
accuracies = []
for axes, trainer in zip(figure.subplots(1, 2), [line, curve], strict=True):
    accuracies.append(trainer.evaluate(held_out)["accuracy"])
    chance = nn.functional.softmax(trainer.predict(grid)).numpy()[:, 1].reshape(rows.shape)
    axes.contourf(columns, rows, chance, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.6)
    axes.contour(columns, rows, chance, levels=[0.5], colors="black")
    for label, marker in enumerate("os"):
        points = held_out.inputs[held_out.targets == label]
        axes.scatter(*points.T, marker=marker, s=12, label=f"class {label}")
    axes.set_title(
        f"{trainer.model.n_parameters} parameters: {accuracies[-1]:.1%} of unseen points"
    )
    axes.legend(loc="upper right")

picture = Path(tempfile.mkdtemp()) / "moons.png"
figure.savefig(picture)
print(f"a line: {accuracies[0]:.1%}, a curve: {accuracies[1]:.1%}; drawn in {picture}")
assert 0.8 < accuracies[0] < 0.93, "no line separates the moons"
assert accuracies[1] > 0.95
assert picture.stat().st_size > 10_000
