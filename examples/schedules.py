"""What a schedule does: noisy gradients need a rate that falls, and 1/t is the running mean."""

import tempfile
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import optim

N = 2000
samples = np.random.default_rng(0).normal(loc=3.0, size=N).astype("f")

# the mean of the samples, found by gradient descent on ½ (w − x)², one sample a step
SCHEDULES = {
    "constant 0.5": optim.Constant(0.5),
    "linear 0.9 → 1e-9": optim.Linear(0.9, 1e-9, N),
    "cosine 0.5": optim.Cosine(0.5, N),
    "step decay": optim.StepDecay(0.5, every=N // 8, factor=0.4),
    "warm-up, then 1/t": optim.Warmup(20, then=optim.InverseTime(1.0)),
    "1/t": optim.InverseTime(1.0),
}


@cr.compile
def step(parameters, optimizer, x):
    loss, gradients = cr.value_and_grad(lambda p: ((p["w"] - x) ** 2).mean() / 2)(parameters)
    optimizer.update(parameters, gradients)
    return loss, parameters["w"]


def path_of(schedule):
    parameters, optimizer = {"w": cr.asarray(0.0)}, optim.SGD(schedule)
    optimizer.initialise(parameters)
    order = np.arange(N).reshape(N, 1)
    return cr.run_steps(step, [parameters, optimizer], (samples,), order)[1]


paths = {name: path_of(schedule) for name, schedule in SCHEDULES.items()}
restless = {name: float(path[-100:].std()) for name, path in paths.items()}
for name, path in paths.items():
    print(f"{name:<18} ends at {path[-1]:.4f}, still moves by {restless[name]:.4f}")
print(f"mean of samples    {samples.mean():.4f}; compiled {step.n_compilations} time")

assert step.n_compilations == 1, "a rate is data: no schedule compiles again"
assert restless["constant 0.5"] > 0.4, "a constant rate follows the noise"
assert all(abs(path[-1] - 3) < 0.25 for name, path in paths.items() if "constant" not in name)
# with η = 1/t, w ← w − (w − x)/t is the running mean, at every step
running = np.cumsum(samples, dtype="d") / np.arange(1, N + 1)
assert np.abs(paths["1/t"] - running).max() < 1e-4

assert optim.Linear(0.9, 1e-9, N)(0) == 0.9
assert optim.Linear(0.9, 1e-9, N)(N) == 1e-9
together = optim.Warmup(50, then=optim.CosineWarmRestarts(0.3, 150, multiplier=2)) * 0.5
picture = together.plot(Path(tempfile.mkdtemp()) / "rate.png", steps=1100)
assert picture.stat().st_size > 5_000
