"""An optimizer's state as nested dicts of numbers and Arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.array import Array, leaf
from chainrule.errors import StateError
from chainrule.ops.origin import here

ENTRIES = ("optimizer", "step", "state", "begun", "hyperparameters", "schedules")


def state_dict(optimizer: Any) -> dict[str, Any]:
    """Everything that the next update depends on."""
    return {
        "optimizer": type(optimizer).__name__,
        "step": optimizer.step,
        "state": {path: dict(slots) for path, slots in optimizer.state.items()},
        "begun": dict(optimizer._begun),
        "hyperparameters": _numbers(optimizer),
        "schedules": {key: s.state_dict() for key, s in optimizer._schedules.items()},
    }


def _numbers(optimizer: Any) -> dict[str, Any]:
    """The hyper-parameters that are fixed numbers; those of schedules follow from the step."""
    numbers: dict[str, Any] = {
        key: value for key, value in optimizer._scalars.items() if key not in optimizer._schedules
    }
    return numbers | {"max_norm": optimizer.max_norm, "max_value": optimizer.max_value}


def load_state_dict(optimizer: Any, given: Mapping[str, Any]) -> None:
    """Check a saved state, then take it over."""
    _check(optimizer, given)
    state = {
        path: {name: _own(x, f"{path}.{name}") for name, x in slots.items()}
        for path, slots in given["state"].items()
    }
    for key, schedule in optimizer._schedules.items():
        schedule.load_state_dict(given["schedules"][key])
    for key, value in given["hyperparameters"].items():
        if key in ("max_norm", "max_value"):
            setattr(optimizer, key, value)
        else:
            optimizer._set(key, float(value))
    optimizer.step = _own(given["step"], "step")
    optimizer._begun = {path: int(count) for path, count in given["begun"].items()}
    # the dict itself stays: a compiled function may hold it
    optimizer.state.clear()
    optimizer.state.update(state)


def _own(x: Any, name: str) -> Array:
    """A leaf of the optimizer's own; NumPy arrays are copied, Arrays never change."""
    data = x.data if isinstance(x, Array) else np.array(x)
    return leaf(data, name=name, owned=True)


def _check(optimizer: Any, given: Mapping[str, Any]) -> None:
    kind = type(optimizer).__name__
    missing = [name for name in ENTRIES if name not in given]
    if missing:
        _refuse(kind, f"the entries {', '.join(ENTRIES)}", f"without {', '.join(missing)}")
    if given["optimizer"] != kind:
        _refuse(kind, f"a state saved by {kind}", f"one saved by {given['optimizer']}")
    if set(given["hyperparameters"]) != set(_numbers(optimizer)):
        differing = sorted(set(given["hyperparameters"]) ^ set(_numbers(optimizer)))
        _refuse(kind, "the same groups and schedules", f"differing: {', '.join(differing)}")
    if set(given["schedules"]) != set(optimizer._schedules):
        _refuse(
            kind,
            f"schedules for {', '.join(optimizer._schedules) or 'nothing'}",
            f"for {', '.join(given['schedules']) or 'nothing'}",
        )


def _refuse(kind: str, expected: str, got: str) -> None:
    raise StateError(
        f"this state does not fit the optimizer {kind}",
        expected=expected,
        got=got,
        fix="build the optimizer as it was when the state was saved",
        where=str(here()),
    )
