"""``Module.summary``: what each layer gives, holds and costs, counted without computing anything.

The model runs once on placeholders, with placeholders for its parameters too; sizes and products
are read off the recorded graph.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chainrule import random
from chainrule.array import Array, placeholder
from chainrule.errors import ArgumentError
from chainrule.graph import Node, topological
from chainrule.nn.calls import observe_calls
from chainrule.nn.checks import positive_integer
from chainrule.ops.dtypes import Dtype, as_dtype
from chainrule.ops.origin import here
from chainrule.ops.record import Shape
from chainrule.random import RandomState
from chainrule.scope import transform_scope
from chainrule.tree import flatten

_WIDTH = 80


@dataclass(frozen=True)
class SummaryRow:
    """One layer.

    Args:
        path: Where it lies in the model, ``"encoder.0"``; ``""`` for the model itself.
        layer: Its representation in one line, ``"Linear(in_features=784, …)"``.
        output_shape: Shape of its last output, batch included; several for several outputs; None
            if ``forward`` did not call it.
        n_parameters: Numbers in its own parameters; a tied parameter counts where it comes first.
        n_frozen: How many of them are frozen.
        multiply_adds: Products that are added up in matrix products and convolutions, per batch.
        n_bytes: Memory of its parameters and buffers, in bytes.
        output_bytes: Memory of its output, in bytes.
    """

    path: str
    layer: str
    output_shape: Shape | tuple[Shape, ...] | None
    n_parameters: int
    n_frozen: int
    multiply_adds: int
    n_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class Summary:
    """A model's layers and their sums; prints as a table of at most 80 columns.

    Args:
        model: The model's type.
        inputs: Shapes of the inputs, batch included.
        rows: The layers that compute or hold something, outer before inner.
    """

    model: str
    inputs: tuple[Shape, ...]
    rows: tuple[SummaryRow, ...]

    @property
    def n_parameters(self) -> int:
        """Numbers in all parameters."""
        return sum(row.n_parameters for row in self.rows)

    @property
    def n_frozen(self) -> int:
        """Numbers in the frozen parameters."""
        return sum(row.n_frozen for row in self.rows)

    @property
    def n_trainable(self) -> int:
        """Numbers in the parameters that training changes."""
        return self.n_parameters - self.n_frozen

    @property
    def multiply_adds(self) -> int:
        """Products that are added up in one forward pass over the batch."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def n_bytes(self) -> int:
        """Memory of parameters and buffers, in bytes."""
        return sum(row.n_bytes for row in self.rows)

    @property
    def output_bytes(self) -> int:
        """Memory of all layers' outputs together, in bytes."""
        return sum(row.output_bytes for row in self.rows)

    def _cells(self) -> list[tuple[str, str, str, str, str]]:
        return [
            (
                f"{row.path} {row.layer.split('(')[0]}".strip(),
                _shape_text(row.output_shape),
                f"{row.n_parameters:,}",
                f"{row.multiply_adds:,}",
                readable_bytes(row.n_bytes),
            )
            for row in self.rows
        ]

    def _totals(self) -> list[str]:
        kinds = f"{self.n_trainable:,} trainable, {self.n_frozen:,} frozen"
        inputs = " and ".join(str(shape) for shape in self.inputs)
        return [
            f"{self.n_parameters:,} parameters ({kinds}), {readable_bytes(self.n_bytes)}",
            f"{self.multiply_adds:,} multiply-adds for an input of {inputs}",
            f"{readable_bytes(self.output_bytes)} of layer outputs",
        ]

    def __str__(self) -> str:
        cells = [_HEADER, *self._cells()]
        widths = [max(len(line[i]) for line in cells) for i in range(5)]
        spare = _WIDTH - sum(widths[2:]) - 2 * 4
        widths[1] = min(widths[1], max(12, spare // 2))
        widths[0] = min(widths[0], max(12, spare - widths[1]))
        lines = [_line(line, widths) for line in cells]
        rule = "─" * min(_WIDTH, max(len(line) for line in lines))
        return "\n".join([self.model, rule, lines[0], rule, *lines[1:], rule, *self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(title)}</th>" for title in _HEADER)
        body = "".join(
            f'<tr title="{html.escape(row.layer)}">'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
            for row, cells in zip(self.rows, self._cells(), strict=True)
        )
        totals = "<br>".join(html.escape(line) for line in self._totals())
        return (
            f"<table><caption>{html.escape(self.model)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table><p>{totals}</p>"
        )


_HEADER = ("Layer", "Output", "Parameters", "Multiply-adds", "Memory")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [
        _shorten(text, width).ljust(width) for text, width in zip(cells[:2], widths, strict=False)
    ]
    right = [text.rjust(width) for text, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def _shorten(text: str, width: int) -> str:
    """Cut the beginning: the end of a path tells more."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def _shape_text(shape: Shape | tuple[Shape, ...] | None) -> str:
    if shape is None:
        return "not called"
    if shape and isinstance(shape[0], tuple):
        return ", ".join(str(part) for part in shape)
    return str(shape)


def readable_bytes(count: int) -> str:
    """A number of bytes in three or four digits: ``31.8 kB``, powers of 1000.

    Args:
        count: Bytes.

    >>> readable_bytes(512), readable_bytes(31840), readable_bytes(15_625_250_000)
    ('512 B', '31.8 kB', '15.6 GB')
    """
    if count < 1000:
        return f"{count} B"
    power = min(int(math.log10(count)) // 3, 5)
    return f"{count / 1000**power:.1f} {' kMGTP'[power]}B"


# --- counting -----------------------------------------------------------------------------------


def multiply_adds(node: Node) -> int:
    """Products that are added up in one node, those of its subgraphs included.

    Args:
        node: Any node; all but matrix products, convolutions and control flow count nothing.
    """
    if node.op is None:
        return 0
    attributes = node.attributes
    if node.op.name == "dot_general":
        x = node.inputs[0]
        inner = math.prod(x.shape[axis] for axis in attributes["contract"][0])
        return int(math.prod(node.specs[0][0]) * inner)
    if node.op.name == "convolution":
        x, w = node.inputs
        if max(attributes["input_dilation"], default=1) > 1:  # transposed: the zeros cost nothing
            readers = w.shape[0] // int(attributes["groups"])
            return int(math.prod(x.shape) * math.prod(w.shape[2:]) * readers)
        return int(math.prod(node.specs[0][0]) * math.prod(w.shape[1:]))
    if node.op.name == "cond":
        return max(_in_graph(attributes["on_true"]), _in_graph(attributes["on_false"]))
    if "body" in attributes:
        return int(attributes.get("length", 1)) * _in_graph(attributes["body"])
    return 0


def _in_graph(graph: Any) -> int:
    return sum(multiply_adds(node) for node in graph.nodes)


def summarize(model: Any, input_shape: Any, dtype: Any, batch_size: int) -> Summary:
    """See ``Module.summary``."""
    shapes = [
        (positive_integer(batch_size, "summary: batch_size"), *s) for s in _shapes(input_shape)
    ]
    types = list(dtype) if isinstance(dtype, list | tuple) else [dtype] * len(shapes)
    if len(types) != len(shapes):
        raise ArgumentError(
            "summary needs one dtype for all inputs or one for each",
            expected=f"{len(shapes)} dtypes",
            got=str(len(types)),
            where=str(here()),
        )
    calls = _record(model, shapes, [as_dtype(t) for t in types])
    roots = [x for outputs in calls.values() for _, part in outputs for x in part]
    costs: dict[str, int] = {}
    for node in topological(roots):
        cost = multiply_adds(node)
        if cost:
            costs[node.origin.layer] = costs.get(node.origin.layer, 0) + cost
    rows = _rows(model, calls, costs)
    return Summary(type(model).__name__, tuple(shapes), tuple(rows))


Calls = dict[int, list[tuple[str, list[Array]]]]  # by id of the Module: paths and outputs


def _record(model: Any, shapes: Sequence[Shape], types: Sequence[Dtype]) -> Calls:
    """Run the model in evaluation mode on placeholders; note each layer's calls."""
    calls: Calls = {}

    def note(module: Any, path: str, output: Any) -> None:
        arrays = [leaf.value for leaf in flatten(output)[0] if isinstance(leaf.value, Array)]
        calls.setdefault(id(module), []).append((path, arrays))

    inputs = [placeholder(shape, kind) for shape, kind in zip(shapes, types, strict=True)]
    with (
        _placeholders_inside(model),
        transform_scope(),
        random.use(RandomState(0)),  # draws leave no trace in the ambient state
        observe_calls(note),
    ):
        model(*inputs)
    return calls


@contextmanager
def _placeholders_inside(model: Any) -> Iterator[None]:
    """Put placeholders in the place of all state, in evaluation mode; put all back afterwards."""
    leaves = [leaf for leaf in flatten(model)[0] if isinstance(leaf.value, Array)]
    modes = [(module, module.training) for module in model.modules()]
    stand_ins: dict[tuple[Node, int], Array] = {}
    model.eval()
    try:
        for leaf in leaves:
            x = leaf.value
            key = (x.node, x.index)
            leaf.assign(stand_ins.setdefault(key, placeholder(x.shape, x.dtype, leaf.path)))
        yield
    finally:
        for leaf in leaves:
            leaf.assign(leaf.value)
        for module, training in modes:
            module.training = training


def _shapes(input_shape: Any) -> list[Shape]:
    """One shape of a sample for each input."""
    given: list[Any] = [input_shape] if isinstance(input_shape, int) else list(input_shape)
    several = bool(given) and all(isinstance(part, list | tuple) for part in given)
    shapes = [tuple(part) for part in given] if several else [tuple(given)]
    for shape in shapes:
        for size in shape:
            positive_integer(size, "summary: a size in input_shape")
    return shapes


def _rows(model: Any, calls: Calls, costs: dict[str, int]) -> Iterator[SummaryRow]:
    seen: set[tuple[Node, int]] = set()
    for path, module in model.named_modules():
        own = [(name, value) for name, value in vars(module).items() if isinstance(value, Array)]
        fresh = []
        for name, value in own:
            if (value.node, value.index) not in seen:
                seen.add((value.node, value.index))
                fresh.append((name, value))
        called = calls.get(id(module), [])
        cost = sum(costs.pop(at, 0) for at in dict.fromkeys(at for at, _ in called))
        if next(module.children(), None) is not None and not own and not cost:
            continue  # a mere container
        roles = module._roles()
        parameters = [(name, value) for name, value in fresh if name in roles]
        outputs = called[-1][1] if called else []
        shapes = tuple(x.shape for x in outputs)
        yield SummaryRow(
            path=path,
            layer=f"{type(module).__name__}({module.extra_repr()})",
            output_shape=None if not called else shapes[0] if len(shapes) == 1 else shapes,
            n_parameters=sum(value.size for _, value in parameters),
            n_frozen=sum(value.size for name, value in parameters if not roles[name]),
            multiply_adds=cost,
            n_bytes=sum(value.size * value.dtype.itemsize for _, value in fresh),
            output_bytes=sum(x.size * x.dtype.itemsize for x in outputs),
        )
