"""What a small convolutional net sees in digits: pictures of it, and checks that they tell it."""

import tempfile
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import data, insight, nn, optim, plots

cr.random.seed(0)
digits = data.mnist("train").subset(np.arange(6_000))


def prepared(images):
    """One channel, numbers from 0 to 1."""
    return images.reshape(-1, 1, 28, 28).astype(np.float32) / 255


train, _ = data.holdout(data.ArrayDataset(prepared(digits.inputs), digits.targets), 1 / 6, seed=0)
test = data.mnist("test")
model = nn.Sequential(
    nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3), nn.ReLU(), nn.GlobalMaxPool(), nn.Linear(16, 10),
)  # fmt: skip
trainer = cr.Trainer(
    model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(3e-3), metrics=["accuracy"],
    batch_size=50,
)  # fmt: skip
trainer.fit(train, epochs=5, progress="none")

# five digits that the network has never seen, and the pictures of what it makes of them
rows = [int(np.flatnonzero(test.targets == digit)[0]) for digit in (0, 2, 3, 4, 7)]
x, labels = prepared(test.inputs[rows]), test.targets[rows]
folder = Path(tempfile.mkdtemp())
files = insight.draw_all(model, x, folder)

# what speaks for a class adds up to its score, less the score of a black picture; where the
# largest place changes on the way, gradients jump: it takes many steps
attributed = insight.integrated_gradients(model, x, labels, steps=1024)
assert attributed.is_complete(0.05)

# hiding the pixels that matter most costs more than hiding as many others of the digit
saliency = attributed.attributions
score = insight.activations(model, x, "")[np.arange(5), labels]
without, other = x.copy(), x.copy()
generator = np.random.default_rng(0)
for picture, cut, control in zip(saliency, without, other, strict=True):
    cut.reshape(-1)[np.argsort(-picture.reshape(-1))[:20]] = 0
    control.reshape(-1)[generator.choice(np.flatnonzero(control), 20, replace=False)] = 0
lost, lost_by_chance = (
    float(np.mean(score - insight.activations(model, y, "")[np.arange(5), labels]))
    for y in (without, other)
)
print(f"20 pixels hidden: score −{lost:.1f} by saliency, −{lost_by_chance:.1f} by chance")
assert lost > 2 * lost_by_chance

# saliency must change when the weights are random; an edge detector's picture does not
checks = {
    "gradient": insight.sanity_check(model, x, labels),
    "edges": insight.sanity_check(model, x, labels, method=insight.edge_detector),
}
assert checks["gradient"].passed
assert not checks["edges"].passed
files.append(insight.draw_sanity_checks(checks, folder / "sanity.png", sample=1))

# a shifted digit gives shifted maps; and what the ten outputs would like to see best
shifted = insight.translation_equivariance(model, x, "4", (2, -2))
assert shifted.error < 1e-5
files.append(insight.draw_equivariance(shifted, folder / "shift.png", sample=3))
dreams = insight.maximize_activation(model, "", range(10), (1, 28, 28))
title = "what the outputs 0 to 9 like best"
files.append(plots.image_grid(dreams.inputs[:, 0], folder / "dreams.png", columns=5, title=title))
print(f"{len(files)} pictures in {folder}:", *(file.name for file in files))
