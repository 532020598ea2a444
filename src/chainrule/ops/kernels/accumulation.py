"""In what type a sum is carried."""

from __future__ import annotations

import numpy as np

from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype


def accumulator(dtype: Dtype) -> Dtype:
    """Return float32 for the 16-bit floats, whose sums would lose small terms; else ``dtype``."""
    return np.dtype(np.float32) if dtype in (dtypes.float16, dtypes.bfloat16) else dtype
