"""Operands of attention for tests."""

import numpy as np


def samples(batch, heads, shared, queries, keys, features, value_features, dtype="float32"):
    """Queries, keys, values and a cotangent."""
    rng = np.random.default_rng(queries)
    shapes = [
        (batch, heads, queries, features),
        (batch, shared, keys, features),
        (batch, shared, keys, value_features),
        (batch, heads, queries, value_features),
    ]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]
