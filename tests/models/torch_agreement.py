"""One check for all models that read tokens: values and gradients are PyTorch's."""

import numpy as np

import chainrule as cr

ENGINES = ("interpreter", "compiler")


def words(*shape, below=11, seed=0, least=0):
    return np.random.default_rng(seed).integers(least, below, shape)


def randomize(peer, seed=0):
    """Every parameter tells: biases and scales of norms as well, and each by its own numbers."""
    import torch

    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in peer.named_parameters():
            centre = 1.0 if value.ndim == 1 and name.endswith("weight") else 0.0
            drawn = centre + generator.normal(scale=0.3, size=tuple(value.shape))
            value.copy_(torch.from_numpy(drawn.astype(np.float32)))


def close(actual, wanted, what, tolerance):
    """Differences are measured by the largest number: sums of many terms cancel."""
    actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    assert actual.shape == wanted.shape, f"{what}: {actual.shape}, PyTorch {wanted.shape}"
    limit = tolerance * max(1.0, np.abs(wanted).max())
    assert np.abs(actual - wanted).max() <= limit, f"{what} differs"


def agree_with_torch(
    ours, peer, *inputs, engines=ENGINES, tolerance=3e-5, translate=lambda state: state, call=None
):
    """Load the peer's state, run both, compare outputs and the gradients of all parameters.

    Args:
        ours: Model.
        peer: The same in PyTorch; it computes in float64.
        inputs: Arrays of integers.
        engines: Which engines to run.
        tolerance: Largest difference by the largest number.
        translate: From the peer's names and layouts to ours, for state and gradients.
        call: Of ours; None: ``ours(*inputs)``.
    """
    import torch

    randomize(peer)
    before = translate({k: v.detach().clone() for k, v in peer.state_dict().items()})
    peer = peer.double()
    wanted = peer(*(torch.from_numpy(x) for x in inputs))
    cotangent = np.random.default_rng(5).normal(size=tuple(wanted.shape))
    (wanted * torch.from_numpy(cotangent)).sum().backward()
    by_peer = translate({k: v.grad for k, v in peer.named_parameters() if v.grad is not None})

    def inner(model, *inputs):
        y = model(*inputs) if call is None else call(model, *inputs)
        return (y * cotangent.astype(np.float32)).sum(), y

    for engine in engines:
        ours.load_state_dict(before)
        with_gradients = cr.compile(cr.value_and_grad(inner, has_aux=True), engine=engine)
        (_, y), grads = with_gradients(ours, *inputs)
        close(y, wanted.detach(), f"{engine}: the output", tolerance)
        assert set(grads) <= set(by_peer), "a parameter that the peer has not"
        for name, gradient in grads.items():
            close(gradient, by_peer[name], f"{engine}: the gradient of {name}", tolerance)
