"""Random numbers from keys and counters: every draw is a function of its key and its place.

A key is two uint32 words. ``split`` and ``fold_in`` make keys from keys; a distribution called
twice with one key gives the same numbers twice. Element i (row-major) of a draw depends on the key
and on i alone, so a larger draw begins with the smaller one, whatever batch, engine or number of
threads. Keys with leading axes, shape (..., 2), make one draw each, stacked in front.

Dropout and its like take their keys from the *ambient* ``RandomState``, which counts steps.

Reference: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
(Philox4x32-10).
"""

from chainrule.random.distributions import (
    bernoulli,
    categorical,
    exponential,
    gumbel,
    normal,
    permutation,
    randint,
    truncated_normal,
    uniform,
)
from chainrule.random.keys import ShapeLike, bits, fold_in, key, split
from chainrule.random.state import RandomState, ambient, layer_key, seed, use

__all__ = [
    "RandomState",
    "ShapeLike",
    "ambient",
    "bernoulli",
    "bits",
    "categorical",
    "exponential",
    "fold_in",
    "gumbel",
    "key",
    "layer_key",
    "normal",
    "permutation",
    "randint",
    "seed",
    "split",
    "truncated_normal",
    "uniform",
    "use",
]
