"""A training step written by hand, compiled once, then run many times a call."""

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

cr.random.seed(0)
moons = data.two_moons(400, noise=0.1)
model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = optim.Adam(optim.Cosine(0.02, 300))


@cr.compile
def step(model, optimizer, x, y):
    loss, gradients = cr.value_and_grad(lambda m: nn.functional.cross_entropy(m(x), y))(model)
    optimizer.update(model, gradients)
    return loss


first = step(model, optimizer, moons.inputs, moons.targets)
before = model.state_dict()

order = np.concatenate([data.epoch_order(400, 0, e).reshape(-1, 40) for e in range(30)])
losses = cr.run_steps(step, [model, optimizer], [moons.inputs, moons.targets], order)

print(f"loss {float(first):.3f} → {losses[-10:].mean():.4f} in {len(losses)} steps")
print(f"compiled {step.n_compilations} times: the whole set, and batches of 40")
assert losses[-10:].mean() < 0.02
assert step.n_compilations == 2
moved = [not np.array_equal(before[k], w) for k, w in model.state_dict().items()]
assert all(moved), "the state dict taken before still holds the old weights"
