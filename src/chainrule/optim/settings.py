"""``Settings``: an optimizer's hyper-parameters as attributes, groups, schedules and limits."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from chainrule.array import Array
from chainrule.errors import ArgumentError, StateError
from chainrule.ops.habits import OPTIMIZER, missing
from chainrule.ops.origin import here
from chainrule.optim.hyperparameters import (
    NON_NEGATIVE,
    POSITIVE,
    Interval,
    ParameterGroup,
    pair,
    refuse_short_names,
)
from chainrule.optim.schedules.base import Schedule

#: hyper-parameters that every optimizer takes, but for groups alone, and their valid numbers
OF_GROUPS: Mapping[str, Interval] = {"max_row_norm": POSITIVE}


class Settings:
    """Hyper-parameters by name: numbers or schedules, for all parameters or for a group.

    Args:
        values: Hyper-parameter → number or schedule.
        groups: Parameters with hyper-parameters of their own, from ``optim.group``.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A hyper-parameter outside its range, or one that this optimizer lacks.
    """

    #: hyper-parameters of this optimizer and their valid numbers, besides the common ones
    ranges: ClassVar[Mapping[str, Interval]] = {}
    #: those that are left out of the computation while they are 0
    switches: ClassVar[frozenset[str]] = frozenset({"weight_decay"})
    #: attributes that decide how it computes: part of a compiled function's signature
    flags: ClassVar[tuple[str, ...]] = ()
    #: those that are read only when state is created: no schedules, no change afterwards
    fixed: ClassVar[frozenset[str]] = frozenset()

    step: Array
    state: dict[str, dict[str, Array]]

    def __init__(
        self,
        values: Mapping[str, Any],
        groups: Iterable[ParameterGroup],
        max_norm: float | None,
        max_value: float | None,
    ) -> None:
        # keys are names, and "groups.0.name" for those of a group
        self._scalars: dict[str, float | Array] = {}
        self._schedules: dict[str, Schedule] = {}
        for name, value in values.items():
            self._set(name, value)
        self.groups = [self._adopt(given, i) for i, given in enumerate(groups)]
        self.max_norm = max_norm
        self.max_value = max_value

    @classmethod
    def _valid(cls) -> dict[str, Interval]:
        common = {"learning_rate": NON_NEGATIVE, "weight_decay": NON_NEGATIVE}
        return {**common, **OF_GROUPS, **cls.ranges}

    def _set(self, key: str, value: Any) -> None:
        """Store a hyper-parameter, ``"momentum"`` or a group's, ``"groups.0.momentum"``."""
        name = key.rpartition(".")[2]
        if isinstance(value, Schedule):
            if name in self.fixed:
                raise ArgumentError(
                    f"{type(self).__name__}: {name} is only where it begins, so it can not follow "
                    "a schedule",
                    expected="a number",
                    got=repr(value),
                    where=str(here()),
                )
            self._schedules[key] = value
            self._scalars[key] = 0.0
            return
        if not isinstance(value, Array) or value.is_concrete:
            number = value.item() if isinstance(value, Array) else value
            value = self._valid()[name].check(number, f"{type(self).__name__}: {name}")
        self._schedules.pop(key, None)
        self._scalars[key] = value

    def _adopt(self, given: ParameterGroup, number: int) -> ParameterGroup:
        values = dict(given.values)
        if "betas" in values and "beta1" in self._scalars:
            values["beta1"], values["beta2"] = pair(values.pop("betas"), "betas")
        unknown = [name for name in values if name not in {**self._scalars, **OF_GROUPS}]
        if unknown:
            raise ArgumentError(
                f"{type(self).__name__} has no hyper-parameter {unknown[0]!r} to set for a group",
                expected=", ".join(
                    name for name in {**self._scalars, **OF_GROUPS} if "." not in name
                ),
                got=f"group({given.pattern!r}, {unknown[0]}=...)",
                where=str(here()),
            )
        for name, value in values.items():
            self._set(f"groups.{number}.{name}", value)
        return ParameterGroup(given.pattern, values)

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_scalars", ()):
            return self._current(name)
        raise missing(type(self).__name__, name, OPTIMIZER, lambda: [*self._scalars, *dir(self)])

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("max_norm", "max_value"):
            if value is not None and (not isinstance(value, Array) or value.is_concrete):
                number = value.item() if isinstance(value, Array) else value
                value = POSITIVE.check(number, f"{type(self).__name__}: {name}")
            object.__setattr__(self, name, value)
        elif name in self.__dict__.get("_scalars", ()):
            if name in self.fixed and self.state:
                raise StateError(
                    f"{type(self).__name__}: {name} is only where it begins, and it has begun",
                    fix="set it before the first update, or build another optimizer",
                    where=str(here()),
                )
            self._set(name, value)
        else:
            refuse_short_names(type(self).__name__, {name: value})
            object.__setattr__(self, name, value)

    def _current(self, key: str) -> float | Array:
        """The number now; of a schedule, that of the next update."""
        value = self._scalars[key]
        if key in self._schedules and not isinstance(value, Array):
            return self._schedules[key](int(self.step))
        return value

    def _is_on(self, key: str) -> bool:
        value = self._scalars[key]
        return (
            key.rpartition(".")[2] not in self.switches
            or key in self._schedules
            or not (isinstance(value, float) and value == 0.0)
        )

    def is_on_anywhere(self, name: str) -> bool:
        """True if a hyper-parameter that can be left out is not 0, be it for one group only."""
        keys = [key for key in self._scalars if key.rpartition(".")[2] == name]
        return any(self._is_on(key) for key in keys)

    def _matching(self, path: str) -> tuple[int, ...]:
        """Numbers of the groups that a parameter belongs to."""
        groups = enumerate(self.groups)
        return tuple(i for i, given in groups if fnmatch.fnmatchcase(path, given.pattern))

    def _key(self, name: str, matching: tuple[int, ...]) -> str:
        """Which number holds for parameters of these groups: that of the last one that has it."""
        keys = [f"groups.{i}.{name}" for i in reversed(matching)]
        return next((key for key in keys if key in self._scalars), name)

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The schedules of this optimizer, by hyper-parameter."""
        return dict(self._schedules)

    def bind(self, steps_per_epoch: int) -> None:
        """Tell the schedules that count epochs how many updates one has."""
        for schedule in self._schedules.values():
            schedule.bind(steps_per_epoch)

    def report(self, metric: float) -> None:
        """Tell the schedules how well training goes, once an epoch (``ReduceOnPlateau``)."""
        for schedule in self._schedules.values():
            schedule.report(metric)

    def _shown(self, prefix: str, names: Iterable[str]) -> str:
        """Hyper-parameters as ``repr`` shows them: a schedule as such, else the number."""
        values = self._scalars | self._schedules
        return ", ".join(f"{name}={values[prefix + name]!r}" for name in names)

    def __repr__(self) -> str:
        shown = [self._shown("", [name for name in self._scalars if "." not in name])]
        shown += [f"{name}={getattr(self, name)!r}" for name in self.flags if getattr(self, name)]
        limits = [(name, getattr(self, name)) for name in ("max_norm", "max_value")]
        shown += [f"{name}={value!r}" for name, value in limits if value is not None]
        if self.groups:
            groups = [
                f"group({given.pattern!r}, {self._shown(f'groups.{i}.', given.values)})"
                for i, given in enumerate(self.groups)
            ]
            shown.append(f"groups=[{', '.join(groups)}]")
        return f"{type(self).__name__}({', '.join(shown)})"
