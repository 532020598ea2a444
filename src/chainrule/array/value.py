"""``Array``: an immutable value, recorded lazily and evaluated when somebody looks at it."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import ops
from chainrule.errors import ArgumentError, DtypeError, ImmutableError
from chainrule.execution import evaluate
from chainrule.graph import Buffer, Node, value_node
from chainrule.ops import dtypes, habits
from chainrule.ops.dtypes import Dtype, as_dtype
from chainrule.ops.hooks import Operand
from chainrule.ops.indexing import getitem, scatter_items
from chainrule.ops.origin import Origin, here
from chainrule.ops.record import Shape, Spec
from chainrule.ops.spelling import answers_spelling

_Operator = Callable[["Array", Any], "Array"]


def _operators(function: Callable[[Operand, Operand], Any]) -> tuple[_Operator, _Operator]:
    """An operator and its reflection (``2 - x``); other types may know what to do with an Array."""

    def forward(self: Array, other: Any) -> Any:
        return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    def reflected(self: Array, other: Any) -> Any:
        return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    return forward, reflected


# where NumPy's older names differ from the array API's
_UFUNC_NAMES = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "power": "pow",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
    "true_divide": "divide",
}


class Array:
    """An n-dimensional value of one element type: a node's output.

    Made by ``cr.asarray``, by operators and by functions; never changed afterwards. The value is
    computed when it is printed, converted or compared in an ``if``.

    Args:
        node: The node whose output this is.
        index: Which of its outputs.

    >>> import chainrule as cr
    >>> x = cr.asarray([1.0, 2.0])
    >>> x * x + 1
    Array([2., 5.], float32)
    """

    __slots__ = ("__weakref__", "dtype", "index", "node", "shape", "weak")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: Node, index: int = 0, weak: bool = False) -> None:
        self.node = node
        self.index = index
        self.shape: Shape
        self.dtype: Dtype
        self.shape, self.dtype = node.specs[index]
        self.weak = weak

    # --- what it is -------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for n in self.shape:
            count *= n
        return count

    @property
    def device(self) -> str:
        """Where the data lies."""
        return self.node.values[self.index].device if self.node.values else "cpu"

    @property
    def name(self) -> str:
        """The name given by ``cr.variable``, or ``""``."""
        return self.node.name

    @property
    def is_concrete(self) -> bool:
        """False while a trace is being recorded that this value depends on."""
        return not self.node.traced

    @property
    def T(self) -> Array:
        """All axes in reverse order."""
        return ops.permute_dims(self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Array:
        """The last two axes swapped."""
        return ops.matrix_transpose(self)

    @property
    def at(self) -> UpdateHelper:
        """``x.at[i].set(v)`` and ``x.at[i].add(v)``: a copy with places changed."""
        return UpdateHelper(self)

    # --- looking at it ----------------------------------------------------------------------

    @property
    def data(self) -> np.ndarray:
        """The evaluated data themselves, for engines; users take ``numpy()``."""
        return self.buffer.data

    @property
    def buffer(self) -> Buffer:
        """What holds the data, evaluated."""
        if self.node.values is None:
            evaluate([self])
        return self.node.values[self.index]  # type: ignore[index]

    def numpy(self) -> np.ndarray:
        """The value as a read-only ndarray that shares memory; ``.copy()`` to write."""
        view = self.data.view()
        view.setflags(write=False)  # a third of the time that the attribute takes
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        view = self.numpy()
        if dtype is not None and view.dtype != dtype:
            if copy is False:
                raise ValueError(f"a copy is needed to turn {view.dtype} into {dtype}")
            return view.astype(dtype)
        return view.copy() if copy else view

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Array:
        """``np.sin(x)`` and ``ndarray * x`` record chainrule's op of that name."""
        name = _UFUNC_NAMES.get(ufunc.__name__, ufunc.__name__)
        function = getattr(ops, name, None)
        if method != "__call__" or keywords or function is None:
            raise DtypeError(
                f"np.{ufunc.__name__} does not work on Arrays in this form",
                fix=f"use cr.{name}" if function else "use a function of chainrule, or x.numpy()",
                where=str(here()),
            )
        return function(*inputs)

    def __array_function__(self, function: Any, types: Any, inputs: Any, keywords: Any) -> Any:
        """``np.mean(x)``, ``np.stack([x, y])``: NumPy's function of the values, without history."""
        return function(*_as_numpy(inputs), **_as_numpy(keywords))

    def __dlpack__(self, **keywords: Any) -> Any:
        # most consumers pass over the read-only flag: only who says copy=False gets the memory
        shared = keywords.pop("copy", None) is False
        return (self.numpy() if shared else self.data.copy()).__dlpack__(**keywords)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return sys.modules["chainrule"]

    def item(self) -> Any:
        """The only element, as a Python number."""
        return self.numpy().item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.numpy().tolist()

    def __float__(self) -> float:
        return float(self._single("float"))

    def __int__(self) -> int:
        return int(self._single("int"))

    def __index__(self) -> int:
        if self.shape or not dtypes.is_integer(self.dtype):
            raise DtypeError(
                "only an integer scalar can be an index",
                expected="an integer Array of shape ()",
                got=f"{self.dtype} of shape {self.shape}",
                where=str(here()),
            )
        return int(self.numpy())

    def __complex__(self) -> complex:
        return complex(self._single("complex"))

    def __bool__(self) -> bool:
        return bool(self._single("bool"))

    def _single(self, what: str) -> np.ndarray:
        if self.size != 1:
            raise ArgumentError(
                f"an array of {self.size} elements is no single {what}",
                expected="one element",
                got=f"shape {self.shape}",
                fix="reduce it first: x.sum(), x.mean(), cr.any(x), cr.all(x)",
                where=str(here()),
            )
        return self.numpy().reshape(())[()]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a scalar Array has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        if not self.is_concrete:
            return f"Array(traced, shape={self.shape}, {self.dtype})"
        data = self.numpy()
        printable = data.astype(np.float32) if self.dtype.kind == "V" else data
        text = np.array2string(printable, separator=", ", prefix="Array(", threshold=200)
        label = f", name={self.name!r}" if self.name else ""
        return f"Array({text}, {self.dtype}{label})"

    def __format__(self, format_spec: str) -> str:
        return format(self.item(), format_spec) if format_spec else repr(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def __copy__(self) -> Array:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Array:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.data, self.node.tracked, self.name, self.weak)

    # --- operators --------------------------------------------------------------------------

    def __neg__(self) -> Array:
        return ops.negative(self)

    def __pos__(self) -> Array:
        return self

    def __abs__(self) -> Array:
        return ops.abs(self)

    def __invert__(self) -> Array:
        return ops.bitwise_invert(self)

    def __getitem__(self, key: Any) -> Array:
        return getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        place = key if isinstance(key, int) else "i"
        raise ImmutableError(
            "an Array never changes, so nothing can be assigned to a part of it",
            got=f"x[{place}] = ...",
            fix=f"x = x.at[{place}].set(value), or .add(value), which make a new Array",
            where=str(here()),
        )

    if not TYPE_CHECKING:  # a type checker shall still know which names there are

        def __getattr__(self, name: str) -> Any:
            raise habits.missing("Array", name, habits.ARRAY, lambda: dir(type(self)))

    __add__, __radd__ = _operators(ops.add)
    __sub__, __rsub__ = _operators(ops.subtract)
    __mul__, __rmul__ = _operators(ops.multiply)
    __truediv__, __rtruediv__ = _operators(ops.divide)
    __floordiv__, __rfloordiv__ = _operators(ops.floor_divide)
    __mod__, __rmod__ = _operators(ops.remainder)
    __pow__, __rpow__ = _operators(ops.pow)
    __matmul__, __rmatmul__ = _operators(ops.matmul)
    __and__, __rand__ = _operators(ops.bitwise_and)
    __or__, __ror__ = _operators(ops.bitwise_or)
    __xor__, __rxor__ = _operators(ops.bitwise_xor)
    __lshift__, __rlshift__ = _operators(ops.bitwise_left_shift)
    __rshift__, __rrshift__ = _operators(ops.bitwise_right_shift)
    __lt__, __gt__ = _operators(ops.less)[0], _operators(ops.greater)[0]
    __le__, __ge__ = _operators(ops.less_equal)[0], _operators(ops.greater_equal)[0]
    __eq__ = _operators(ops.equal)[0]  # type: ignore[assignment]
    __ne__ = _operators(ops.not_equal)[0]  # type: ignore[assignment]

    def __contains__(self, value: Any) -> bool:
        return bool(ops.any(ops.equal(self, value)))

    # --- methods that read better than functions --------------------------------------------

    @answers_spelling
    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Sum over ``axis`` (None: all)."""
        return ops.sum(self, axis=axis, keepdims=keepdims)

    @answers_spelling
    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Mean over ``axis`` (None: all)."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    @answers_spelling
    def max(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Largest element over ``axis`` (None: all)."""
        return ops.max(self, axis=axis, keepdims=keepdims)

    @answers_spelling
    def min(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Smallest element over ``axis`` (None: all)."""
        return ops.min(self, axis=axis, keepdims=keepdims)

    @answers_spelling
    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Array:
        """Index of the first largest element along ``axis``."""
        return ops.argmax(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Array:
        """The same elements in another shape; one size may be −1."""
        target = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return ops.reshape(self, target)

    def astype(self, dtype: Any) -> Array:
        """Cast to ``dtype``."""
        return ops.astype(self, dtype)


def _as_numpy(x: Any) -> Any:
    if isinstance(x, Array):
        return x.numpy()
    if isinstance(x, dict):
        return {key: _as_numpy(value) for key, value in x.items()}
    return type(x)(map(_as_numpy, x)) if type(x) in (list, tuple) else x


class UpdateHelper:
    """Functional updates of an Array: ``x.at[key].set(v)``, ``x.at[key].add(v)``."""

    __slots__ = ("_array", "_key")

    def __init__(self, array: Array, key: Any = ()) -> None:
        self._array = array
        self._key = key

    def __getitem__(self, key: Any) -> UpdateHelper:
        return UpdateHelper(self._array, key)

    def set(self, values: Operand) -> Array:
        """A copy with ``values`` at the key; of two values for one place the last wins."""
        return scatter_items(self._array, self._key, values, mode="set")

    def add(self, values: Operand) -> Array:
        """A copy with ``values`` added at the key; repeated places add up, in order."""
        return scatter_items(self._array, self._key, values, mode="add")


_OPERANDS = (Array, int, float, np.ndarray, np.generic, list)  # what operators take beside an Array


def leaf(
    data: np.ndarray | Buffer,
    *,
    tracked: bool = False,
    name: str = "",
    owned: bool = False,
    weak: bool = False,
    origin: Origin | None = None,
    spec: Spec | None = None,
) -> Array:
    """A leaf that takes ``data`` over without a copy.

    Args:
        data: The value.
        tracked: Gradients may be asked for it.
        name: The user's name for it.
        owned: It is stored in a Module or optimizer.
        weak: A traced scalar, which takes the dtype of what it meets.
        origin: Where it comes from, if the caller knows; else that is looked up.
        spec: Shape and type of the data, if the caller knows.
    """
    node = value_node(
        spec or (data.shape, as_dtype(data.dtype)),
        data if isinstance(data, Buffer) else Buffer(data),
        tracked,
        name,
        owned,
        origin or here(2),
    )
    return Array(node, 0, weak)


def _unpickled(data: np.ndarray, tracked: bool, name: str, weak: bool) -> Array:
    return leaf(data, tracked=tracked, name=name, weak=weak)
