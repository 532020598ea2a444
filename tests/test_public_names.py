"""The public names are those of ``__all__``, each exists, and importing costs little."""

import inspect
import subprocess
import sys
import types

import pytest

import chainrule as cr

ARRAY_API = """
    abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2
    atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor
    bool broadcast_arrays broadcast_to can_cast ceil clip concat copysign cos cosh count_nonzero
    cumulative_prod cumulative_sum diff divide e empty empty_like equal exp expand_dims expm1 eye
    finfo flip float32 float64 floor floor_divide full full_like greater greater_equal hypot iinfo
    inf int16 int32 int64 int8 isdtype isfinite isinf isnan less less_equal linspace log log10
    log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul matrix_transpose max
    maximum mean meshgrid min minimum moveaxis multiply nan negative newaxis nonzero not_equal ones
    ones_like permute_dims pi positive pow prod reciprocal remainder repeat reshape result_type
    roll round searchsorted sign signbit sin sinh sort sqrt square squeeze stack std subtract sum
    take take_along_axis tan tanh tensordot tile tril triu trunc uint16 uint32 uint64 uint8
    unique_all unique_counts unique_inverse unique_values unstack var vecdot where zeros zeros_like
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", cr.__all__)
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(cr, name)
    if inspect.isfunction(value) or inspect.isclass(value) or isinstance(value, types.ModuleType):
        assert value.__doc__, f"{name} has no docstring"


def test_all_is_what_dir_shows():
    assert sorted(cr.__all__) == list(cr.__all__) == dir(cr)
    loaded = {name for name in vars(cr) if not name.startswith("_")}
    assert loaded - set(cr.__all__) <= {
        module.split(".")[1] for module in sys.modules if module.startswith("chainrule.")
    }, "a public name that __all__ does not list"


def test_the_names_of_the_array_api_are_there():
    missing = [name for name in ARRAY_API if name not in cr.__all__]
    assert not missing


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="convnet"):
        cr.convnet  # noqa: B018


@pytest.mark.parametrize(
    "name", ["nn", "optim", "data", "metrics", "plots", "training", "models", "generation"]
)
def test_packages_list_their_names(name):
    package = __import__(f"chainrule.{name}", fromlist=["__all__"])
    for public in package.__all__:
        assert hasattr(package, public), f"chainrule.{name}.{public}"
    shown = {
        key
        for key, value in vars(package).items()
        if not key.startswith("_") and getattr(value, "__module__", "").startswith("chainrule")
    }
    assert shown <= set(package.__all__), f"not in __all__: {shown - set(package.__all__)}"


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = modules_after("import chainrule")
    assert not loaded & {"numpy", "matplotlib", "rich", "typer", "PIL", "safetensors", "llvmlite"}


def test_training_by_hand_needs_neither_pictures_nor_the_shell():
    code = "from chainrule import nn, optim; nn.Linear(2, 2); optim.SGD(0.1)"
    loaded = modules_after(code)
    assert not loaded & {"matplotlib", "rich", "typer", "PIL", "safetensors", "llvmlite"}


def test_everything_works_where_llvmlite_is_absent():
    code = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "import chainrule as cr\n"
        "assert cr.compile(lambda x: x + 1)(cr.asarray(1.0)).item() == 2"
    )
    modules_after(code)
