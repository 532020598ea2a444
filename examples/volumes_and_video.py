"""Three-dimensional inputs: a volume has one channel, a colour video has three."""

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

rng = np.random.default_rng(0)


def network(channels, classes):
    """Two convolutions that look along all three axes, and the mean of their maps."""
    return nn.Sequential(
        nn.Conv3d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(8, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(), nn.GlobalAvgPool(),
        nn.Linear(16, classes),
    )  # fmt: skip


def trained(model, samples, epochs):
    """Learn on 3 of 4 samples; accuracy on the others, which no step has seen."""
    train, test = data.holdout(samples, 0.25, seed=0)
    trainer = cr.Trainer(
        model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(1e-2), metrics=["accuracy"],
        batch_size=16,
    )  # fmt: skip
    trainer.fit(train, epochs=epochs, progress="none")
    return trainer.evaluate(test)["accuracy"]


# one channel: a scan of 12 × 12 × 12 voxels with a solid ball or a hollow one in it
n = 160
hollow = np.arange(n) % 2
at = np.mgrid[:12, :12, :12]
middle = rng.uniform(4.5, 6.5, (3, n, 1, 1, 1))
distance = np.sqrt(((at[:, None] - middle) ** 2).sum(axis=0))
radius = rng.uniform(3.0, 4.5, (n, 1, 1, 1))
ball = (distance < radius) & ~(hollow[:, None, None, None] & (distance < 0.6 * radius))
scans = ball + 0.3 * rng.standard_normal(ball.shape)
volumes = data.ArrayDataset(scans[:, None].astype("float32"), hollow)
assert volumes.inputs.shape == (160, 1, 12, 12, 12)

cr.random.seed(0)
accuracy = trained(network(1, 2), volumes, epochs=10)
print(f"volumes, (1, 12, 12, 12): {accuracy:.1%} of the unseen scans")
assert accuracy > 0.9

# three channels: 8 frames of 12 × 12 in which a spot of some colour goes up, down, left or right
way = np.arange(n) % 4
step = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])[way] * rng.uniform(0.6, 0.9, (n, 1))
frame = np.arange(8) - 3.5
centre = rng.uniform(5, 6, (n, 2))
place = centre[:, None] + step[:, None] * frame[:, None]  # (n, frames, 2)
row, column = np.mgrid[:12, :12]
squares = (row - place[..., 0, None, None]) ** 2 + (column - place[..., 1, None, None]) ** 2
spot = np.exp(-squares / 3)  # (n, frames, height, width)
colours = rng.uniform(0.5, 1.0, (n, 3, 1, 1, 1))
video = colours * spot[:, None] + 0.1 * rng.standard_normal((n, 3, 8, 12, 12))
videos = data.ArrayDataset(video.astype("float32"), way)
assert videos.inputs.shape == (160, 3, 8, 12, 12)

accuracy = trained(network(3, 4), videos, epochs=12)
print(f"colour videos, (3, 8, 12, 12): {accuracy:.1%} of the unseen ones")
assert accuracy > 0.9

# frames in any order still show the spot, but not where it goes
orders = [rng.permutation(8) for _ in range(n)]
shuffled = videos.map_inputs(
    lambda x: np.stack([v[:, order] for v, order in zip(x, orders, strict=True)])
)
without = trained(network(3, 4), shuffled, epochs=12)
print(f"the same with frames in any order: {without:.1%}")
assert without < 0.75
