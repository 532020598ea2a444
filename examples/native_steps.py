"""Whole training steps as machine code: the interpreter's losses, sooner; where time and memory go.

`cr.run_steps` runs a step for each row of an order. The compiler makes one native program of
forward pass, backward pass and optimizer, which gathers the mini-batches itself.
"""

import time

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.program import ENGINES

STEPS, BATCH = 200, 32


def step(model, optimizer, x, labels):
    loss, gradients = cr.value_and_grad(lambda m: nn.functional.cross_entropy(m(x), labels))(model)
    optimizer.update(model, gradients)
    return loss


def fresh():
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.1), nn.Linear(48, 4))
    return [model, optim.Adam(0.002)]


rng = np.random.default_rng(0)
inputs = rng.normal(size=(2000, 64)).astype(np.float32)
labels = (inputs @ rng.normal(size=(64, 4)).astype(np.float32)).argmax(axis=1)
order = np.stack([rng.choice(2000, BATCH, replace=False) for _ in range(STEPS)])

# 1. the same steps on each engine
losses, seconds, weights = {}, {}, {}
for engine in ENGINES:
    state = fresh()
    cr.run_steps(step, state, [inputs, labels], order[:1], engine=engine)  # compiles
    state = fresh()
    started = time.perf_counter()
    losses[engine] = cr.run_steps(step, state, [inputs, labels], order, engine=engine)
    seconds[engine] = time.perf_counter() - started
    weights[engine] = state[0].state_dict()
    first, last = losses[engine][:20].mean(), losses[engine][-20:].mean()
    each = seconds[engine] / STEPS * 1e6
    print(f"{engine:<12} {each:7.0f} µs a step, loss {first:.3f} → {last:.3f}")
    assert last < 0.5 * first

if "compiler" not in ENGINES:
    print("llvmlite is not installed: there is no machine code to look at")
    raise SystemExit

# sums are added in another order, and the dropout masks are the same bits
np.testing.assert_allclose(losses["compiler"], losses["interpreter"], rtol=2e-3, atol=2e-3)
print(f"speed-up: {seconds['interpreter'] / seconds['compiler']:.1f} times\n")
assert seconds["compiler"] < seconds["interpreter"]

# 2. the same bits on one thread
cr.set_num_threads(1)
state = fresh()
alone = cr.run_steps(step, state, [inputs, labels], order)
cr.set_num_threads(None)
assert np.array_equal(alone, losses["compiler"])
for name, weight in state[0].state_dict().items():
    assert np.array_equal(weight, weights["compiler"][name]), name

# 3. where the time and the memory of a step go
profile = cr.profile_steps(step, fresh(), [inputs, labels], order, seconds=0.2)
print(profile)
assert any(row.title.startswith(f"multiply {BATCH}x64x48") for row in profile.rows)
print(f"\n{profile.memory}")
assert profile.memory.arena <= profile.memory.values + 4096
