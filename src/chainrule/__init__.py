"""chainrule: deep learning you can see through.

Every name here is loaded when it is first used, so that ``import chainrule`` costs next to nothing.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

from chainrule.version import VERSION as __version__

_SUBMODULES = (
    "autodiff",
    "data",
    "errors",
    "explain",
    "generation",
    "insight",
    "metrics",
    "models",
    "nn",
    "optim",
    "ops",
    "plots",
    "program",
    "random",
    "training",
    "tree",
)

# where each public name lives
_HOMES = {
    "chainrule.array": "Array asarray variable",
    "chainrule.autodiff": (
        "check_gradients checkpoint custom_vjp grad gradients hessian hvp jacobian jvp "
        "value_and_grad vjp vmap"
    ),
    "chainrule.control": "cond fori_loop scan switch while_loop",
    "chainrule.errors": "ChainruleError TeachingWarning",
    "chainrule.explain": "named",
    "chainrule.generation": "beam_search generate",
    "chainrule.ops": (
        "abs acos acosh add all any arange argmax argmin argsort asin asinh astype atan atan2 "
        "atanh average_pool barrier bitwise_and bitwise_invert bitwise_left_shift bitwise_or "
        "bitwise_right_shift bitwise_xor broadcast_arrays broadcast_to can_cast ceil clip "
        "concat convolution copysign cos cosh count_nonzero cumulative_prod cumulative_sum diff "
        "divide empty empty_like equal erf exp expand_dims expm1 eye finfo flip floor "
        "floor_divide full full_like greater greater_equal hypot iinfo isdtype isfinite isinf "
        "isnan less less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not "
        "logical_or logical_xor logsumexp matmul matrix_transpose max max_pool maximum mean "
        "meshgrid min minimum moveaxis multiply negative nonzero not_equal one_hot ones "
        "ones_like outer pad permute_dims positive pow prod reciprocal relu remainder repeat "
        "reshape result_type roll round searchsorted sigmoid sign signbit sin sinh "
        "sliding_windows sort sqrt square squeeze stack std stop_gradient subtract sum take "
        "take_along_axis tan tanh tensordot tile top_k tril triu trunc unique_all unique_counts "
        "unique_inverse unique_values unstack var vecdot where zeros zeros_like"
    ),
    "chainrule.ops.dtypes": (
        "bfloat16 float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64"
    ),
    "chainrule.program": "CompiledFunction Program compile memory_of_steps profile_steps run_steps",
    "chainrule.program.compiler.runtime.counts": "get_num_threads set_num_threads",
    "chainrule.training": "EarlyStopping History Trainer",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(
    ["__version__", "bool", "e", "inf", "nan", "newaxis", "pi", *_SUBMODULES, *_HOME_OF]
)


def __getattr__(name: str) -> _Any:
    if name in _HOME_OF:
        value = getattr(_import_module(_HOME_OF[name]), name)
    elif name in _SUBMODULES:
        value = _import_module(f"chainrule.{name}")
    elif name == "bool":
        value = _import_module("chainrule.ops.dtypes").bool_
    elif name in ("e", "inf", "nan", "pi"):
        value = getattr(_import_module("math"), name)
    elif name == "newaxis":
        value = None
    else:
        habits = _import_module("chainrule.ops.habits")
        raise habits.missing("chainrule", name, habits.PACKAGE, lambda: __all__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
