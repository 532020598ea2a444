"""Two-dimensional inputs: a spectrogram has one channel, a colour picture has three."""

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

rng = np.random.default_rng(0)


def network(channels, classes):
    """Two convolutions that look at both axes, and the mean of their maps."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.GlobalAvgPool(),
        nn.Linear(16, classes),
    )  # fmt: skip


def trained(model, samples, epochs):
    """Learn on 3 of 4 samples; accuracy on the others, which no step has seen."""
    train, test = data.holdout(samples, 0.25, seed=0)
    trainer = cr.Trainer(
        model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(1e-2), metrics=["accuracy"],
        batch_size=32,
    )  # fmt: skip
    trainer.fit(train, epochs=epochs, progress="none")
    return trainer.evaluate(test)["accuracy"]


# one channel: half a second of sound that rises, falls or stays, as energy over pitch and time
n, rate = 240, 8_000
kind = np.arange(n) % 3
seconds = np.arange(rate // 2) / rate
slope = np.array([1.0, -1.0, 0.0])[kind, None] * rng.uniform(300, 900, (n, 1))
begin = rng.uniform(900, 1_500, (n, 1))
sounds = np.sin(2 * np.pi * (begin * seconds + slope * seconds**2))
sounds += 0.5 * rng.standard_normal(sounds.shape)
features = data.log_mel(sounds.astype("float32"), rate, n_mels=32, fft_length=512)
spectrograms = data.ArrayDataset(features[:, None], kind)
pitches, times = spectrograms.inputs.shape[2:]
assert pitches == 32

cr.random.seed(0)
scale = nn.Standardize(features.mean(), features.std())
accuracy = trained(nn.Sequential(scale, network(1, 3)), spectrograms, epochs=10)
print(f"spectrograms, (1, {pitches}, {times}): {accuracy:.1%} of the unseen sounds")
assert accuracy > 0.9

# three channels: a disc or a ring, red or blue, anywhere on a grey picture of 24 × 24
shape, colour = np.arange(n) % 2, np.arange(n) // 2 % 2
row, column = np.mgrid[:24, :24]
middle = rng.uniform(8, 16, (2, n, 1, 1))
down, right = row - middle[0], column - middle[1]
size = rng.uniform(4, 7, (n, 1, 1))
distance = np.sqrt(down**2 + right**2)
inside = (distance < size) & ~((distance < 0.6 * size) & (shape == 1)[:, None, None])
pictures = np.repeat(rng.uniform(90, 150, (n, 1, 1, 1)), 3, axis=1) * np.ones((1, 1, 24, 24))
channel = np.where(colour, 2, 0)  # red or blue
pictures[np.arange(n), channel] += 90 * inside
pictures += 8 * rng.standard_normal(pictures.shape)
photographs = data.ArrayDataset(pictures.clip(0, 255).astype(np.uint8), 2 * shape + colour)
assert photographs.inputs.shape == (240, 3, 24, 24)

normalized = nn.Sequential(nn.Standardize(128.0, 64.0), network(3, 4))
accuracy = trained(normalized, photographs, epochs=40)
print(f"colour pictures, (3, 24, 24): {accuracy:.1%} of the unseen ones")
assert accuracy > 0.9

# grey copies keep the shapes, but red and blue become one
grey = photographs.map_inputs(lambda x: x.mean(axis=1, keepdims=True).astype(np.uint8))
blind = nn.Sequential(nn.Standardize(128.0, 64.0), network(1, 4))
without = trained(blind, grey, epochs=40)
print(f"the same without colour, (1, 24, 24): {without:.1%}")
assert without < 0.7
