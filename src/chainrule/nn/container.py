"""``Sequential``: layers one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from chainrule.errors import ArgumentError, IndexRangeError
from chainrule.nn.module import Module
from chainrule.ops.origin import here


class Sequential(Module):
    """Apply layers one after the other: y = f_n(… f_2(f_1(x))).

    Args:
        layers: Modules, named "0", "1", …; or one mapping from names to Modules.

    Shape: what the first layer takes → what the last one gives. Several inputs go to the first.

    Raises:
        ArgumentError: Something given is no Module.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> model[-1]
    Linear(in_features=784, out_features=10, bias=True)
    >>> [path for path, _ in model.named_parameters()]
    ['1.weight', '1.bias']
    """

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        for layer in layers:
            if len(layers) == 1 and isinstance(layer, Mapping):
                for name, inner in layer.items():
                    self._add(str(name), inner)
            else:
                self.append(layer)

    def _add(self, name: str, layer: Any) -> None:
        if "." in name or not name:
            raise ArgumentError(
                f"{name!r} is no name for a layer",
                expected="a name without dots, which separate the parts of a path",
                where=str(here()),
            )
        setattr(self, name, _checked(layer))

    def forward(self, *inputs: Any) -> Any:
        """Apply the layers in order."""
        layers = iter(self)
        first = next(layers, None)
        if first is None:
            if len(inputs) != 1:
                raise ArgumentError(
                    "an empty Sequential returns its only input",
                    expected="one input",
                    got=str(len(inputs)),
                    where=str(here()),
                )
            return inputs[0]
        x = first(*inputs)
        for layer in layers:
            x = layer(x)
        return x

    def append(self, layer: Any) -> Sequential:
        """Add a layer at the end; returns self.

        Args:
            layer: A Module.
        """
        number = len(self)
        while str(number) in self.__dict__:  # a slice keeps the names of its layers
            number += 1
        self._add(str(number), layer)
        return self

    def extend(self, layers: Iterable[Module]) -> Sequential:
        """Add several layers at the end; returns self.

        Args:
            layers: Modules.
        """
        for layer in layers:
            self.append(layer)
        return self

    def _names(self) -> list[str]:
        return [name for name, value in self.__dict__.items() if isinstance(value, Module)]

    def _name_at(self, position: int) -> str:
        names = self._names()
        if not -len(names) <= position < len(names):
            raise IndexRangeError(
                f"Sequential has no layer {position}",
                expected=f"0 to {len(names) - 1}, or −1 to −{len(names)} from the end",
                got=str(position),
                where=str(here()),
            )
        return names[position]

    @overload
    def __getitem__(self, position: int | str) -> Module: ...

    @overload
    def __getitem__(self, position: slice) -> Sequential: ...

    def __getitem__(self, position: int | str | slice) -> Module:
        if isinstance(position, slice):  # the same layers under the same names
            return Sequential({name: self.__dict__[name] for name in self._names()[position]})
        if isinstance(position, str):
            if position not in self._names():
                raise KeyError(position)
            return self.__dict__[position]
        return self.__dict__[self._name_at(position)]

    def __setitem__(self, position: int, layer: Module) -> None:
        setattr(self, self._name_at(position), _checked(layer))

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Module]:
        return iter([self.__dict__[name] for name in self._names()])


def _checked(layer: Any) -> Module:
    if isinstance(layer, Module):
        return layer
    if isinstance(layer, type) and issubclass(layer, Module):
        got, fix = f"the class {layer.__name__}", f"make one: nn.{layer.__name__}(...)"
    else:
        got = f"{type(layer).__name__} {getattr(layer, '__name__', layer)}"
        fix = "for a function use its layer (nn.ReLU() for relu), or a Module with a forward rule"
    raise ArgumentError(
        "Sequential holds Modules only",
        expected="nn.Linear(...), nn.ReLU(), …",
        got=got,
        fix=fix,
        where=str(here()),
    )
