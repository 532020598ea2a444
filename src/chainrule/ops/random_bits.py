"""Random bits from counters: Philox4x32-10 as primitives; ``chainrule.random`` shapes them."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DtypeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.elementwise import align_batch
from chainrule.ops.hooks import Value
from chainrule.ops.kernels import philox
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Shape, Spec, bind, register


def _check_key(key: Value) -> None:
    if key.dtype != dtypes.uint32 or not key.shape or key.shape[-1] != 2:
        raise ShapeError(
            "this is no random key",
            expected="two uint32 words, from cr.random.key(seed)",
            got=f"{key.dtype}{list(key.shape)}",
            where=str(here()),
        )


def _bits_infer(key: Value, *, shape: Shape) -> Spec:
    _check_key(key)
    return (*key.shape[:-1], *shape), dtypes.uint32


RANDOM_BITS = register(
    Op(
        name="random_bits",
        family="random",
        arity=1,
        infer=_bits_infer,
        evaluate=lambda key, *, shape: philox.random_bits(key, shape),
        vjp=None,
        nondifferentiable=True,
        batch=lambda inputs, batched, *, shape: bind("random_bits", inputs[0], shape=shape),
        formula="random bits from {x}",
        cases=(Case(((2,),), {"shape": (3, 4)}, integers={0: 2**32}),),
    )
)


def _fold_infer(key: Value, data: Value) -> Spec:
    _check_key(key)
    if data.dtype != dtypes.uint32 or data.shape != key.shape[:-1]:
        raise DtypeError(
            "fold_in: the number must be uint32, one a key",
            expected=f"uint32{list(key.shape[:-1])}",
            got=f"{data.dtype}{list(data.shape)}",
        )
    return key.shape, dtypes.uint32


FOLD_IN = register(
    Op(
        name="fold_in",
        family="random",
        arity=2,
        infer=_fold_infer,
        evaluate=lambda key, data: philox.fold_in_kernel(key, np.asarray(data)),
        vjp=None,
        nondifferentiable=True,
        batch=lambda inputs, batched: bind("fold_in", *align_batch(inputs, batched)),
        formula="key of {x} and {y}",
        cases=(Case(((2,), ()), integers={0: 2**32, 1: 2**32}),),
    )
)


SPLIT = register(
    Op(
        name="split",
        family="random",
        arity=1,
        infer=lambda key, *, n: ((*key.shape[:-1], n, 2), dtypes.uint32),
        evaluate=lambda key, *, n: philox.split_kernel(key, n),
        vjp=None,
        nondifferentiable=True,
        batch=lambda inputs, batched, *, n: bind("split", inputs[0], n=n),
        formula="keys of {x}",
        cases=(Case(((2,),), {"n": 3}, integers={0: 2**32}),),
    )
)
