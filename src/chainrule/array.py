"""``Array``: an immutable value, recorded lazily and evaluated when somebody looks at it."""

from __future__ import annotations

import html
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.errors import ArgumentError, DtypeError, TracedValueError
from chainrule.execution import evaluate
from chainrule.graph import Buffer, Graph, Node, next_serial, topological
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype, as_dtype
from chainrule.ops.hooks import Operand, hooks
from chainrule.ops.indexing import getitem, scatter_items
from chainrule.ops.origin import here
from chainrule.ops.record import Op, Shape

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
        """The evaluated buffer itself, for engines; users take ``numpy()``."""
        if self.node.values is None:
            evaluate([self])
        return self.node.values[self.index].data  # type: ignore[index]

    def numpy(self) -> np.ndarray:
        """The value as a read-only ndarray that shares memory; ``.copy()`` to write."""
        view = self.data.view()
        view.flags.writeable = False
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

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Sum over ``axis`` (None: all)."""
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Mean over ``axis`` (None: all)."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Largest element over ``axis`` (None: all)."""
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Array:
        """Smallest element over ``axis`` (None: all)."""
        return ops.min(self, axis=axis, keepdims=keepdims)

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


# --- recording ------------------------------------------------------------------------------


def record(op: Op, inputs: tuple[Array, ...], attributes: dict[str, Any]) -> Any:
    """Record ``op`` on ``inputs``: check it, make its node, return its output or outputs."""
    specs = op.infer(*inputs, **attributes)
    tracked = traced = False
    weak = bool(inputs) and op.name != "cast"
    for x in inputs:
        if x.node.tracked:
            tracked = True
            traced = traced or x.node.traced
        weak = weak and x.weak
    if op.multiple:
        node = Node(op, inputs, attributes, tuple(specs), tracked, traced)
        return tuple(Array(node, i) for i in range(len(specs)))
    return Array(Node(op, inputs, attributes, (specs,), tracked, traced), 0, weak)


def constant(data: np.ndarray) -> Array:
    """A leaf that holds ``data``, copied if anybody could still write to it."""
    dtype = as_dtype(data.dtype)
    if data.dtype != dtype:
        data = data.astype(dtype)
    elif not _is_frozen(data):
        data = data.copy()
    return leaf(data)


def _is_frozen(data: np.ndarray) -> bool:
    """True if neither the array nor what it is a view of can be written to."""
    base: Any = data
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return base is None or isinstance(base, bytes | mmap.mmap)


def leaf(
    data: np.ndarray,
    *,
    tracked: bool = False,
    name: str = "",
    owned: bool = False,
    weak: bool = False,
) -> Array:
    """A leaf that takes ``data`` over without a copy."""
    node = Node(
        None,
        (),
        {},
        ((data.shape, as_dtype(data.dtype)),),
        values=(Buffer(data),),
        tracked=tracked,
        name=name,
        owned=owned,
    )
    return Array(node, 0, weak)


def placeholder(shape: Shape, dtype: Dtype, name: str = "", weak: bool = False) -> Array:
    """An input of a trace: a leaf without a value."""
    node = Node(None, (), {}, ((shape, as_dtype(dtype)),), tracked=True, traced=True, name=name)
    return Array(node, 0, weak)


def asarray(x: Any, /, *, dtype: Any = None, copy: bool | None = None) -> Array:
    """Turn numbers, lists, NumPy arrays or anything with DLPack into an Array.

    NumPy arrays keep their dtype; Python floats become float32, ints int64.

    Args:
        x: What to turn.
        dtype: Element type; None keeps that of ``x``.
        copy: True gives an Array of its own; False refuses to copy data; None copies what somebody
            else could still write to.

    Raises:
        DtypeError: No supported element type.
        ArgumentError: ``copy=False``, and the data must be copied.

    >>> asarray([1, 2]).dtype
    dtype('int64')
    """
    target = None if dtype is None else as_dtype(dtype)
    if not isinstance(x, Array | np.ndarray | np.generic | int | float | list | tuple):
        if hasattr(x, "__dlpack__"):
            x = np.from_dlpack(x)
        elif hasattr(x, "__array__"):
            x = np.asarray(x)
    if copy is False and not _shareable(x, target):
        raise ArgumentError(
            "asarray: the data must be copied",
            expected="an Array or a NumPy array that nobody can write to, of the same type",
            got=type(x).__name__,
            fix="leave copy out",
            where=str(here()),
        )
    array: Array = ops.as_value(x, target)
    return ops.identity(array) if copy and array is x else array


def _shareable(x: Any, target: Dtype | None) -> bool:
    if isinstance(x, Array):
        return target is None or target == x.dtype
    return isinstance(x, np.ndarray) and _is_frozen(x) and target in (None, x.dtype)


def variable(value: Any, *, name: str = "", dtype: Any = None) -> Array:
    """A leaf that gradients may be asked for: what it came from is cut off.

    Args:
        value: Floating numbers; integers from Python become float32.
        name: How ``explain`` and messages call it.
        dtype: Element type; None keeps that of ``value``.

    >>> variable(2.0, name="w")
    Array(2., float32, name='w')
    """
    array = asarray(value, dtype=dtype)
    if dtype is None and not hasattr(value, "dtype") and array.dtype == dtypes.default_integer:
        array = ops.astype(array, dtypes.default_float)
    return _fresh_leaf(array, tracked=True, name=name)


def _unpickled(data: np.ndarray, tracked: bool, name: str, weak: bool) -> Array:
    return leaf(data, tracked=tracked, name=name, weak=weak)


def cut(x: Array, *, tracked: bool = False, name: str = "", owned: bool = False) -> Array:
    """The value of ``x`` as a leaf without history; traced Arrays pass unchanged."""
    node = x.node
    if node.traced:
        return x
    if node.op is None and (node.tracked, node.name, node.owned) == (tracked, name, owned):
        return x
    return _fresh_leaf(x, tracked, name, owned)


def _fresh_leaf(x: Array, tracked: bool, name: str, owned: bool = False) -> Array:
    """A leaf of its own that shares the buffer of ``x``."""
    made = leaf(x.data, tracked=tracked, name=name, owned=owned)
    made.node.values = (x.node.values[x.index],)  # type: ignore[index]
    return made


def trace(function: Callable[..., Any], like: Sequence[Any]) -> CapturedGraph:
    """Record ``function`` on placeholders shaped ``like`` its arguments; returns a closed graph.

    Arrays that the function catches from outside become extra inputs, listed as ``captured``.

    Args:
        function: Takes one Array a placeholder, returns an Array or a sequence of them.
        like: Arrays or ``(shape, dtype)`` pairs.
    """
    mark = next_serial()
    specs = [(x.shape, x.dtype) if isinstance(x, Array) else x for x in like]
    inputs = [placeholder(shape, dtype) for shape, dtype in specs]
    result = function(*inputs)
    outputs = [result] if isinstance(result, Array) else [ops.as_value(x) for x in result]
    return close(inputs, outputs, mark)


class CapturedGraph(Graph):
    """A graph whose last inputs stand for Arrays caught from outside.

    Args:
        captured: Those Arrays, in the order of the last inputs.
    """

    __slots__ = ("captured",)

    def __init__(
        self, inputs: Sequence[Array], outputs: Sequence[Array], captured: Sequence[Array]
    ) -> None:
        super().__init__(inputs, outputs)
        self.captured = tuple(captured)


def close(inputs: Sequence[Array], outputs: Sequence[Array], mark: int) -> CapturedGraph:
    """Close a graph over what was recorded since ``mark``: older nodes become inputs."""
    own = {x.node for x in inputs}
    caught: dict[tuple[Node, int], Array] = {}
    order = topological(outputs, lambda node: node.serial > mark)
    for x in [*(x for node in order for x in node.inputs), *outputs]:
        if x.node.serial < mark and x.node not in own and not _is_plain(x.node):
            caught.setdefault((x.node, x.index), x)
    if not caught:
        return CapturedGraph(inputs, outputs, ())
    captured = list(caught.values())
    stand_ins = [placeholder(x.shape, x.dtype, x.name, x.weak) for x in captured]
    graph = Graph(captured, outputs)
    graph._nodes = order
    return CapturedGraph([*inputs, *stand_ins], graph.apply(stand_ins), captured)


def _is_plain(node: Node) -> bool:
    """A number in the code, such as the 2 in ``2 * x``, or copies of one: stays as it is."""
    if node.op is not None:
        return node.op.name == "broadcast_to" and _is_plain(node.inputs[0].node)
    return node.specs[0][0] == () and not (node.tracked or node.owned)


def require_concrete(x: Array, why: str) -> np.ndarray:
    """Return the value, or explain why ``why`` needs it outside a trace."""
    if not x.is_concrete:
        raise TracedValueError(
            f"{why} needs the value of an Array that is only being recorded",
            fix="use cr.where(mask, x, 0) instead of x[mask], or do it outside the compiled code",
            where=str(here()),
        )
    return x.data


hooks.bind = record
hooks.constant = constant
hooks.trace = trace
hooks.require_concrete = require_concrete
hooks.array_type = Array
