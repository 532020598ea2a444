"""Derivatives of derivatives, of batches, and along directions."""

import numpy as np

import chainrule as cr


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


# Newton's method: the Hessian is the Jacobian of the gradient
point = np.array([-1.2, 1.0])
for step in range(8):
    gradient = cr.grad(rosenbrock)(point).numpy()
    point = point - np.linalg.solve(cr.hessian(rosenbrock)(point).numpy(), gradient)
    print(f"step {step + 1}: ({point[0]:.6f}, {point[1]:.6f})")
assert np.allclose(point, 1, atol=1e-6)

# a Hessian-vector product without the Hessian
v = np.array([0.3, -2.0])
direct = cr.hessian(rosenbrock)(point).numpy() @ v
assert np.allclose(cr.hvp(rosenbrock, (point,), (v,)), direct)

# the gradient of each example of a batch, and any order of a scalar function
rows = np.random.default_rng(0).normal(size=(5, 2))
assert np.allclose(cr.vmap(cr.grad(rosenbrock))(rows)[3], cr.grad(rosenbrock)(rows[3]))
fourth = cr.sin
for _ in range(4):
    fourth = cr.grad(fourth)
assert np.isclose(float(fourth(0.7)), np.sin(0.7))
