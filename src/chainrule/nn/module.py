"""``Module``: parameters, buffers and inner layers as attributes, and a forward rule."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, StateError
from chainrule.graph import Node
from chainrule.nn import state, summary
from chainrule.nn.attributes import (
    containers,
    hashable,
    is_variable,
    name_parameter,
    refuse_bare_arrays,
    replacement,
    stored_value,
)
from chainrule.nn.calls import call_layer
from chainrule.nn.parameter import Parameter, own_leaf
from chainrule.ops import dtypes
from chainrule.ops.habits import MODULE, missing
from chainrule.ops.origin import here
from chainrule.scope import is_outermost

Self = TypeVar("Self", bound="Module")

_ROLES = "_parameter_roles"  # name of a parameter → whether it is trainable
_OWN = (_ROLES, "training")  # what the base class keeps among the attributes
_FREE = ("forward", "training", "traced_scalars")  # names of the base class that may be assigned


def _no_forward(self: Module, *arguments: Any, **keywords: Any) -> Any:
    raise ArgumentError(
        f"{type(self).__name__} has no forward rule",
        expected="a method forward(self, x) that returns the layer's output",
        where=str(here()),
    )


class Module:
    """Base of all layers and models: attributes hold the state, ``forward`` computes.

    What an attribute holds decides its role:

    - a ``Parameter`` is learned; later assignments to the name replace its value;
    - a plain Array (or NumPy array) is a buffer: part of the state, never given a gradient;
    - a Module, or a list, tuple or dict of Modules, is an inner layer;
    - a float named in ``traced_scalars`` may change without compiling again;
    - everything else is static: a change of it compiles again.

    No ``super().__init__()`` is needed. Call the Module, not ``forward``: the call tells messages
    and random draws the layer's path.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> class Net(nn.Module):
    ...     def __init__(self) -> None:
    ...         self.hidden = nn.Linear(2, 3)
    ...         self.head = nn.Linear(3, 1)
    ...     def forward(self, x):
    ...         return self.head(cr.tanh(self.hidden(x)))
    >>> Net()
    Net(
      (hidden): Linear(in_features=2, out_features=3, bias=True)
      (head): Linear(in_features=3, out_features=1, bias=True)
    )
    >>> Net()(cr.ones((5, 2))).shape
    (5, 1)
    """

    traced_scalars: tuple[str, ...] = ()
    """Names of float attributes that travel as inputs of Programs."""

    training: bool = True
    """True in training mode, False in evaluation mode; set by ``train()`` and ``eval()``."""

    forward: Callable[..., Any] = _no_forward
    """The layer's rule, given by each subclass."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Run ``forward`` as the layer that this Module is."""
        return call_layer(self, arguments, keywords)

    # --- attributes -------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_name(name)
        roles = self._roles()
        if isinstance(value, Parameter):
            roles[name] = value.trainable
            name_parameter(value, name)
        elif isinstance(value, Array | np.ndarray) and name not in self.traced_scalars:
            if name in roles:
                value = replacement(self, name, value)
            elif is_outermost() and isinstance(value, Array) and is_variable(value):
                roles[name] = True
            value = stored_value(ops.as_value(value), name, tracked=name in roles)
        else:
            roles.pop(name, None)
            self._check_value(name, value)
            if name in self.traced_scalars and is_outermost():
                value = float(value)
        self.__dict__[name] = value

    if not TYPE_CHECKING:  # a type checker shall still know which names there are

        def __getattr__(self, name: str) -> Any:
            raise missing(
                type(self).__name__, name, MODULE, lambda: [*vars(self), *dir(type(self))]
            )

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._roles().pop(name, None)

    def _roles(self) -> dict[str, bool]:
        return self.__dict__.setdefault(_ROLES, {})

    def _check_name(self, name: str) -> None:
        if name in vars(Module) and name not in _FREE:
            raise ArgumentError(
                f"{type(self).__name__}.{name}: every Module has a method of this name",
                got=f"an assignment to self.{name}",
                fix=f"call the attribute {name}_ or something more telling",
                where=str(here()),
            )

    def _check_value(self, name: str, value: Any) -> None:
        for part in _submodules(value):
            if any(inner is self for inner in part.modules()):
                raise ArgumentError(
                    f"{type(self).__name__}.{name} would contain the Module itself",
                    expected="layers that form a tree",
                    where=str(here()),
                )
        if isinstance(value, list | tuple | dict):
            refuse_bare_arrays(self, name, value)

    # --- the tree protocol ------------------------------------------------------------------

    def __tree_children__(self) -> list[tuple[str, Any]]:
        pairs = self.__dict__.items()
        return [(n, v) for n, v in pairs if n not in _OWN and self._is_child(n, v)]

    def _is_child(self, name: str, value: Any) -> bool:
        if isinstance(value, (list, tuple, dict)):
            refuse_bare_arrays(self, name, value)
            return next(containers(value), None) is not None
        return (
            isinstance(value, Array)
            or hasattr(value, "__tree_children__")
            or name in self.traced_scalars
        )

    def __tree_assign__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __tree_static__(self) -> Hashable:
        static = tuple(
            (name, hashable(value))
            for name, value in self.__dict__.items()
            if name not in _OWN and not self._is_child(name, value)
        )
        return self.training, tuple(self._roles().items()), static

    def __tree_watch__(self) -> dict[str, Any]:
        return self.__dict__

    def __tree_trainable__(self, name: str) -> bool:
        return self._roles().get(name, False)

    # --- walks ------------------------------------------------------------------------------

    def children(self) -> Iterator[Module]:
        """The Modules directly inside this one, each once."""
        return (module for _, module in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Names and Modules directly inside this one; in a list ``layers``: ``layers.0``."""
        seen: set[int] = set()
        for name, value in self.__dict__.items():
            for path, module in _named_submodules(name, value):
                if id(module) not in seen:
                    seen.add(id(module))
                    yield path, module

    def modules(self) -> Iterator[Module]:
        """This Module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Paths and Modules, outer before inner, each once; this Module has path ``""``."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            inner = list(module.named_children())
            stack += [(_join(path, name), child) for name, child in reversed(inner)]

    def named_state(self, path: str = "") -> Iterator[tuple[str, Module, str]]:
        """All places that hold state, in the order of the tree: path, Module, attribute.

        Args:
            path: Path of this Module, put in front.
        """
        for name, value in self.__dict__.items():
            if isinstance(value, Array):
                if name not in self.traced_scalars:
                    yield _join(path, name), self, name
            else:
                for inner, module in _named_submodules(name, value):
                    yield from module.named_state(_join(path, inner))

    def named_parameters(self, *, trainable_only: bool = False) -> Iterator[tuple[str, Array]]:
        """Paths and parameters; tied parameters come once, under their first path.

        Args:
            trainable_only: Leave frozen parameters out.
        """
        seen: set[tuple[Node, int]] = set()
        for path, module, name in self.named_state():
            value = module.__dict__[name]
            key = (value.node, value.index)
            if name not in module._roles() or key in seen:
                continue
            if trainable_only and not module._roles()[name]:
                continue
            seen.add(key)
            yield path, value

    def parameters(self, *, trainable_only: bool = False) -> Iterator[Array]:
        """The parameters, each once; arguments as ``named_parameters``."""
        return (value for _, value in self.named_parameters(trainable_only=trainable_only))

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Paths and buffers (state that is not learned by gradients), each once."""
        seen: set[tuple[Node, int]] = set()
        for path, module, name in self.named_state():
            value = module.__dict__[name]
            key = (value.node, value.index)
            if name not in module._roles() and key not in seen:
                seen.add(key)
                yield path, value

    def buffers(self) -> Iterator[Array]:
        """The buffers."""
        return (value for _, value in self.named_buffers())

    @property
    def n_parameters(self) -> int:
        """How many numbers the parameters hold together, frozen ones included."""
        return sum(value.size for value in self.parameters())

    # --- modes ------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Switch to training mode (dropout at work, batch statistics measured); returns self.

        Args:
            mode: False switches to evaluation mode instead.
        """
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self: Self) -> Self:
        """Switch to evaluation mode; returns self."""
        return self.train(False)

    def freeze(self: Self) -> Self:
        """Stop learning: no gradients for the parameters in here, no updates; returns self."""
        return self._set_trainable(False)

    def unfreeze(self: Self) -> Self:
        """Undo ``freeze``; returns self."""
        return self._set_trainable(True)

    def _set_trainable(self: Self, trainable: bool) -> Self:
        for module in self.modules():
            roles = module._roles()
            roles.update(dict.fromkeys(roles, trainable))
        return self

    def astype(self: Self, dtype: Any) -> Self:
        """Cast all floating parameters and buffers in place, ties kept; returns self.

        Args:
            dtype: Floating type: ``cr.float64`` for checks by differences, ``cr.bfloat16``, ...

        Raises:
            DtypeError: The type is not floating.
        """
        state.cast_floating(self, dtype)
        return self

    # --- state ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Parameters and buffers by path, as they are now: later training does not change them.

        Tied parameters come under each of their paths, as one and the same Array.
        """
        return state.take(self)

    def load_state_dict(self, values: Mapping[str, Any], strict: bool = True) -> state.LoadResult:
        """Replace parameters and buffers by ``values``, all of them or, on any error, none.

        Floating values take the parameter's type. A tied parameter may come under one of its paths
        or under all; ties stay.

        Args:
            values: Path → Array, NumPy array or anything with ``__array__`` or DLPack.
            strict: False: paths that only one side has are passed over and returned.

        Raises:
            StateError: Entries are missing, unexpected, of another shape, not castable without
                loss of meaning, or differ where parameters are tied; all are listed.
        """
        return state.load(self, values, strict)

    def assign(self, values: Mapping[str, Any]) -> None:
        """Store new values of some parameters or buffers, at all tied places.

        Args:
            values: Path (any one of a tied parameter's) → Array of the same shape and type.

        Raises:
            StateError: There is no such path.
        """
        places = state.places_of(self)
        unknown = [path for path in values if path not in places]
        if unknown:
            raise StateError(
                f"{type(self).__name__} has no state named {unknown[0]!r}",
                expected=state.nearest(unknown[0], list(places)),
                where=str(here()),
            )
        for path, value in values.items():
            first, first_name = places[path][0]
            setattr(first, first_name, value)
            for module, name in places[path][1:]:
                module.__dict__[name] = first.__dict__[first_name]

    def summary(
        self,
        input_shape: Sequence[Any],
        dtype: Any = dtypes.float32,
        batch_size: int = 1,
    ) -> summary.Summary:
        """Output shapes, parameters, multiply-adds and bytes of each layer; allocates nothing.

        Args:
            input_shape: Shape of one sample, without the batch: ``(784,)``; for a model with
                several inputs a list of shapes.
            dtype: Element type of the inputs; integers for an Embedding.
            batch_size: Samples in the batch that is counted for, at least 1.

        >>> from chainrule import nn
        >>> nn.Sequential(nn.Linear(784, 10), nn.Linear(10, 10)).summary((784,)).n_parameters
        7960
        """
        return summary.summarize(self, input_shape, dtype, batch_size)

    # --- Python -----------------------------------------------------------------------------

    def __deepcopy__(self: Self, memo: dict[Any, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            if not isinstance(value, Array):
                twin.__dict__[name] = copy.deepcopy(value, memo)
                continue
            key = (value.node, value.index)  # tied Arrays stay tied, but not to the original
            if key not in memo:
                memo[key] = own_leaf(value, tracked=value.node.tracked, name=value.name)
            twin.__dict__[name] = memo[key]
        return twin

    def extra_repr(self) -> str:
        """Settings shown between the brackets of the layer's line; subclasses give their own."""
        return ""

    def __repr__(self) -> str:
        inner = [f"({name}): {module!r}" for name, module in self.named_children()]
        settings = self.extra_repr()
        if not inner:
            return f"{type(self).__name__}({settings})"
        lines = [settings] if settings else []
        body = "".join(f"\n  {line}" for part in [*lines, *inner] for line in part.split("\n"))
        return f"{type(self).__name__}({body}\n)"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _named_submodules(name: str, value: Any) -> Iterator[tuple[str, Module]]:
    if isinstance(value, Module):
        yield name, value
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _named_submodules(f"{name}.{number}", part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _named_submodules(f"{name}.{key}", part)


def _submodules(value: Any) -> Iterator[Module]:
    return (module for _, module in _named_submodules("", value))
