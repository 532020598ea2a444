"""One-dimensional inputs: a waveform has one channel, the angles of a skeleton have many."""

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

rng = np.random.default_rng(0)


def trained(model, samples, epochs, rate):
    """Learn on 3 of 4 samples; accuracy on the others, which no step has seen."""
    train, test = data.holdout(samples, 0.25, seed=0)
    trainer = cr.Trainer(
        model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(rate), metrics=["accuracy"],
        batch_size=32,
    )  # fmt: skip
    trainer.fit(train, epochs=epochs, progress="none")
    return trainer.evaluate(test)["accuracy"]


# one channel: 256 samples of sound a piece; sine, square and sawtooth of any pitch and phase
n = 480
kind = np.arange(n) % 3
time = np.arange(256) / 256
phase = rng.uniform(4, 12, (n, 1)) * time + rng.random((n, 1))
waves = np.stack(
    [np.sin(2 * np.pi * phase), np.sign(np.sin(2 * np.pi * phase)), 2 * (phase % 1) - 1]
)
heard = waves[kind, np.arange(n)] + 0.2 * rng.standard_normal((n, 256))
waveforms = data.ArrayDataset(heard[:, None].astype("float32"), kind)
assert waveforms.inputs.shape == (480, 1, 256)

cr.random.seed(0)
listener = nn.Sequential(
    nn.Conv1d(1, 8, 9, stride=2), nn.ReLU(),
    nn.Conv1d(8, 16, 9, stride=2), nn.ReLU(),
    nn.GlobalAvgPool(), nn.Linear(16, 3),
)  # fmt: skip
accuracy = trained(listener, waveforms, epochs=30, rate=1e-2)
print(f"waveforms, (1, 256): {accuracy:.1%} of the unseen sounds are named rightly")
assert accuracy > 0.9

# the mean over time takes any length: the same weights hear a sound twice as long
longer = np.concatenate([waveforms.inputs[:5], waveforms.inputs[:5]], axis=2)
assert listener(longer).shape == listener(waveforms.inputs[:5]).shape == (5, 3)

# many channels: 12 joints of a skeleton, 60 frames; each movement has a phase between its joints
movement = np.arange(n) % 4
frames = np.arange(60) / 30
lag = np.stack([
    np.where(np.arange(12) % 2, np.pi, 0.0),  # walking: left against right
    np.zeros(12),  # jumping: all together
    np.linspace(0, 2 * np.pi, 12),  # a wave runs through the body
    np.where(np.arange(12) < 6, np.pi, 0.0),  # bowing: arms against legs
])[movement]  # fmt: skip
pace = rng.uniform(0.8, 1.6, (n, 1, 1))
start = rng.uniform(0, 2 * np.pi, (n, 1, 1))
angles = np.sin(2 * np.pi * pace * frames + start + lag[:, :, None])
angles += 0.3 * rng.standard_normal(angles.shape)
skeletons = data.ArrayDataset(angles.astype("float32"), movement)
assert skeletons.inputs.shape == (480, 12, 60)

watcher = nn.Sequential(
    nn.Conv1d(12, 16, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2),
    nn.Conv1d(16, 16, 5), nn.ReLU(), nn.GlobalAvgPool(), nn.Linear(16, 4),
)  # fmt: skip
accuracy = trained(watcher, skeletons, epochs=12, rate=5e-3)
print(f"angles of skeletons, (12, 60): {accuracy:.1%} of the unseen movements")
assert accuracy > 0.95
