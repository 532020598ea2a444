"""Hyper-parameters: their valid ranges, groups of parameters with their own, traced scalars."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from chainrule import ops
from chainrule.array import Array, leaf
from chainrule.errors import ArgumentError, compose_message
from chainrule.ops.dtypes import Dtype
from chainrule.ops.origin import here
from chainrule.optim.schedules.base import Schedule

#: a fixed number, or one that changes from step to step
Rate: TypeAlias = float | Schedule

#: how PyTorch and others call what is spelled out here
SPELLED_OUT = {
    "lr": "learning_rate",
    "eps": "epsilon",
    "lr_decay": "learning_rate_decay",
    "initial_accumulator_value": "initial_accumulator",
    "max_iter": "max_iterations",
    "max_eval": "max_evaluations",
    "tolerance_grad": "tolerance_gradient",
    "clipnorm": "max_norm",
    "clipvalue": "max_value",
    "global_clipnorm": "max_norm",
}


class Interval(NamedTuple):
    """Valid numbers of a hyper-parameter.

    Args:
        low: Lower end.
        high: Upper end.
        open_low: ``low`` itself is not valid.
        open_high: ``high`` itself is not valid.
    """

    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    open_high: bool = True

    def __str__(self) -> str:
        left, right = "(["[not self.open_low], ")]"[not self.open_high]
        return f"a number in {left}{self.low:g}, {self.high:g}{right}"

    def check(self, value: Any, what: str) -> float:
        """``value`` as a float.

        Args:
            value: What was given.
            what: How the message names it: ``"Adam: epsilon"``.

        Raises:
            ArgumentError: It is no number, or outside the interval.
        """
        is_number = isinstance(value, int | float | np.integer | np.floating)
        if (
            isinstance(value, bool)
            or not is_number
            or not self.low <= value <= self.high
            or (self.open_low and value == self.low)
            or (self.open_high and value == self.high)
        ):
            raise ArgumentError(
                f"{what} is out of its range",
                expected=str(self),
                got=repr(value),
                where=str(here()),
            )
        return float(value)


NON_NEGATIVE = Interval()
POSITIVE = Interval(open_low=True)
UNIT = Interval(0.0, 1.0, open_high=False)
BETA = Interval(0.0, 1.0)


class ParameterGroup(NamedTuple):
    """Parameters that have some hyper-parameters of their own; made by ``group``.

    Args:
        pattern: Shell pattern of parameter paths.
        values: Hyper-parameter → its value for them.
    """

    pattern: str
    values: dict[str, Any]


def group(pattern: str, **values: Any) -> ParameterGroup:
    """Give the parameters whose path matches ``pattern`` hyper-parameters of their own.

    Where several groups match a parameter, each gives what it names; of two values for one
    hyper-parameter that of the later group holds.

    Args:
        pattern: Shell pattern, case-sensitive: ``"*.bias"``, ``"encoder.*"``, ``"layers.[01].*"``.
        values: Hyper-parameters of the optimizer: numbers or schedules. ``max_row_norm``, > 0, is
            for groups alone: after each update every unit's incoming weights (a row of a weight
            with two axes or more) are scaled to at most this norm (Srivastava et al. 2014).

    Raises:
        ArgumentError: Nothing is named, or the pattern is no text.

    >>> from chainrule import optim
    >>> optim.AdamW(1e-3, groups=[optim.group("*.bias", weight_decay=0.0)])
    AdamW(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.01, \
groups=[group('*.bias', weight_decay=0.0)])
    """
    refuse_short_names("group", values)
    if not isinstance(pattern, str) or not values:
        raise ArgumentError(
            "a parameter group needs a pattern and at least one hyper-parameter",
            expected='optim.group("*.bias", weight_decay=0.0)',
            got=f"pattern {pattern!r}, {values or 'no hyper-parameters'}",
            where=str(here()),
        )
    return ParameterGroup(pattern, values)


def refuse_short_names(what: str, keywords: dict[str, Any]) -> None:
    """Answer ``lr=`` and its like with the name that is used here.

    Raises:
        TypeError: One of them is used.
    """
    for name, value in keywords.items():
        if name in SPELLED_OUT:
            long = SPELLED_OUT[name]
            raise TypeError(
                compose_message(
                    f"{what}: {name}= is spelled {long}= here",
                    got=f"{name}={value!r}"[:60],
                    fix=f"{what}({long}={value!r})"[:80],
                    where=str(here()),
                )
            )


def refuse_parameters(what: str, arguments: tuple[Any, ...]) -> None:
    """Answer ``Adam(model.parameters())``: here parameters are given to ``update``.

    Raises:
        ArgumentError: The first argument is a Module, a container or a generator.
    """
    if not arguments or isinstance(arguments[0], int | float | str | Array | Schedule | np.generic):
        return
    first = arguments[0]
    if hasattr(first, "named_parameters") or isinstance(first, Iterable):
        raise ArgumentError(
            f"{what} takes no parameters: they are given to each update",
            expected=f"{what}(learning_rate)",
            got=f"{what}({type(first).__name__}, ...)",
            fix=f"optimizer = {what}(1e-3); later optimizer.update(model, grads)",
            where=str(here()),
        )


class HabitsAnswered:
    """Answers PyTorch's ways of making an optimizer, before Python complains about them.

    Its ``__new__`` stands apart from the optimizers, so that ``help`` finds the signatures of their
    ``__init__``.
    """

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        """Refuse parameters and short names.

        Raises:
            ArgumentError: Parameters or a Module are given.
            TypeError: ``lr=`` or its like is used.
        """
        refuse_parameters(cls.__name__, arguments)
        refuse_short_names(cls.__name__, keywords)
        return super().__new__(cls)


def pair(value: Any, what: str) -> tuple[Any, Any]:
    """Two hyper-parameters given together, such as ``betas``."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ArgumentError(
            f"{what} must be a pair of numbers",
            expected="(first, second)",
            got=repr(value),
            fix=f"{what}=(0.9, 0.999)",
            where=str(here()),
        )
    return value[0], value[1]


class Scalars(SimpleNamespace):
    """The hyper-parameters of one group during an update, as scalar Arrays; None if left out."""

    def cast(self, dtype: Dtype) -> Scalars:
        """The same numbers in the parameters' element type."""
        return Scalars(
            **{
                name: ops.astype(x, dtype) if isinstance(x, Array) else x
                for name, x in vars(self).items()
            }
        )


def weak_scalar(value: float | Array) -> Array:
    """A number as a float64 scalar that takes the type of the array it meets."""
    if not isinstance(value, Array):
        return leaf(np.asarray(value, dtype=np.float64), weak=True)
    if value.weak:
        return value
    wide = ops.astype(value, np.float64)
    return Array(wide.node, wide.index, weak=True)
