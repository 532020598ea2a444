"""One check for all layers: values, gradients and state agree with PyTorch's, on both engines."""

import numpy as np

import chainrule as cr

ENGINES = ("interpreter", "compiler")


def normal(*shape, seed=4):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(actual, wanted, what, tolerance):
    """Differences are measured by the largest number: sums of many terms cancel."""
    actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    assert actual.shape == wanted.shape, f"{what}: {actual.shape}, PyTorch {wanted.shape}"
    if wanted.size:
        limit = tolerance * max(1.0, np.abs(wanted).max())
        assert np.abs(actual - wanted).max() <= limit, f"{what} differs"


def with_gradients(layer, x, cotangent):
    """Output, and gradients of ⟨output, cotangent⟩ in the parameters and the input."""

    def inner(layer, x):
        y = layer(x)
        return (y * cotangent).sum(), y

    (_, y), grads = cr.value_and_grad(inner, argnums=(0, 1), has_aux=True)(layer, x)
    return y, grads


def agree_with_torch(ours, peer, x, *, engines=ENGINES, tolerance=2e-5, apart=()):
    """Load the peer's state by name, run both, and compare; the peer computes in float64.

    Args:
        ours: Layer.
        peer: The same layer in PyTorch.
        x: float32 input.
        engines: Which engines to run.
        tolerance: Largest difference by the largest number.
        apart: Buffers that PyTorch does not keep as their names say.
    """
    import torch

    state = peer.state_dict()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in state.items()
    }
    before = {k: v.detach().clone() for k, v in state.items()}
    peer = peer.double()
    given = torch.from_numpy(x).double().requires_grad_()
    wanted = peer(given)
    cotangent = normal(*wanted.shape, seed=5)
    (wanted * torch.from_numpy(cotangent)).sum().backward()
    after = peer.state_dict()
    for engine in engines:
        ours.load_state_dict(before)
        y, (grads, by_input) = cr.compile(with_gradients, engine=engine)(ours, x, cotangent)
        close(y, wanted.detach(), f"{engine}: the output", tolerance)
        close(by_input, given.grad, f"{engine}: the gradient of the input", tolerance)
        for name, parameter in peer.named_parameters():
            close(grads[name], parameter.grad, f"{engine}: the gradient of {name}", tolerance)
        for name in dict(ours.named_buffers()).keys() - set(apart):
            close(ours.state_dict()[name], after[name], f"{engine}: {name} afterwards", tolerance)
