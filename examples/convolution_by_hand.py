"""A convolution by hand: one weight at every place, its gradient, a shift, and a learned filter."""

import numpy as np

import chainrule as cr
from chainrule import nn, optim

# 1. a window slides over the picture; at each place, nine products are added up
picture = np.zeros((1, 1, 8, 8), np.float32)
picture[0, 0, 2:6, 3:6] = 1.0  # a bright block on black
sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)  # bright left of dark

cr.random.seed(0)
layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
layer.weight = sobel[None, None]

padded = np.pad(picture[0, 0], 1)
by_hand = np.array(
    [[(padded[i : i + 3, j : j + 3] * sobel).sum() for j in range(8)] for i in range(8)]
)
edges = layer(picture)
assert np.allclose(edges.numpy()[0, 0], by_hand)
print("one row of the edges:", edges[0, 0, 3].tolist())

# 2. it is a fully connected layer whose weights are shared, most of them absent
matrix = np.zeros((8, 8, 8, 8), np.float32)  # output row, column; input row, column
for i, j, k, m in np.ndindex(8, 8, 3, 3):
    if 0 <= i + k - 1 < 8 and 0 <= j + m - 1 < 8:
        matrix[i, j, i + k - 1, j + m - 1] = sobel[k, m]
assert np.allclose(matrix.reshape(64, 64) @ picture.reshape(64), by_hand.reshape(64))
print(f"{layer.n_parameters} weights in place of {matrix.size}")

# 3. so the gradient of a shared weight is the sum over all places where it stands
target = cr.asarray(np.random.default_rng(0).normal(size=edges.shape).astype("f"))
loss, grads = cr.value_and_grad(lambda m: ((m(picture) - target) ** 2).sum())(layer)
error = 2 * (edges - target).numpy()[0, 0]
summed = np.array(
    [[(error * padded[k : k + 8, m : m + 8]).sum() for m in range(3)] for k in range(3)]
)
assert np.allclose(grads["weight"].numpy()[0, 0], summed, rtol=1e-4, atol=1e-4)

# 4. the same weights at every place: a shifted picture gives shifted edges
shifted = np.roll(picture, (1, 1), axis=(2, 3))
assert np.allclose(layer(shifted).numpy(), np.roll(edges.numpy(), (1, 1), axis=(2, 3)))

# 5. pictures of any size pass through the same weights
assert layer(np.zeros((2, 1, 30, 17), "f")).shape == (2, 1, 30, 17)

# 6. and the filter can be learned: random pictures and their edges give it back
rng = np.random.default_rng(1)
inputs = rng.normal(size=(256, 1, 8, 8)).astype("f")
wanted = layer(inputs).numpy()
learner = nn.Conv2d(1, 1, 3, padding=1, bias=False)


def step(model, optimizer, x, y):
    loss, grads = cr.value_and_grad(lambda m: nn.mse_loss(m(x), y))(model)
    optimizer.update(model, grads)
    return loss


order = rng.integers(0, 256, (200, 32))
losses = cr.run_steps(step, (learner, optim.SGD(0.05, momentum=0.9)), (inputs, wanted), order)
print(f"loss {losses[0]:.2f} → {losses[-1]:.1e}")
assert losses[-1] < 1e-6
assert np.allclose(learner.weight.numpy()[0, 0], sobel, atol=1e-3)
print("the filter that was learned:", (np.round(learner.weight.numpy()[0, 0]) + 0.0).tolist())
