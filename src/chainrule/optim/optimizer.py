"""``Optimizer``: what all optimizers share — hyper-parameters, groups, state, clipping, storing."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.array import Array, leaf
from chainrule.errors import ArgumentError, StateError, TeachingWarning
from chainrule.execution import evaluate
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.origin import here, stack_level
from chainrule.optim import saving
from chainrule.optim.clipping import clip_by_global_norm, clip_by_value, shorten_rows
from chainrule.optim.hyperparameters import (
    HabitsAnswered,
    ParameterGroup,
    Rate,
    Scalars,
    pair,
    weak_scalar,
)
from chainrule.optim.settings import Settings
from chainrule.optim.targets import Target, Targets, find_modules, find_targets, match_gradients
from chainrule.scope import is_outermost


class Slot(NamedTuple):
    """An Array that an optimizer keeps for every parameter.

    Args:
        initial: What it is filled with at first: a number, or the hyper-parameter that says it.
        scalar: One number instead of one an element.
    """

    initial: float | str = 0.0
    scalar: bool = False


class StepCount(Array):
    """The number of updates so far; who calls it means PyTorch's ``optimizer.step()``."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> None:
        """Say how it is done here.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(
            "optimizer.step is the number of updates so far, nothing to call",
            expected="optimizer.update(model, grads)",
            got="optimizer.step()",
            fix="loss, grads = cr.value_and_grad(loss_of)(model); optimizer.update(model, grads)",
            where=str(here()),
        )


class Optimizer(HabitsAnswered, Settings):
    """Base of the optimizers that change parameters by their gradients, step by step.

    A subclass says which hyper-parameters it has (``ranges``), what it keeps for each parameter
    (``slots``) and how a parameter changes (``rule``); this class does the rest.

    Hyper-parameters are attributes (``optimizer.learning_rate = 0.01``) and may be schedules. In a
    compiled function they are traced scalars: changing them compiles nothing again. Weight decay,
    momentum and their like are left out of the computation while they are exactly 0; turning them
    on or off compiles once more. Schedules move on by one update at each call of a compiled
    function, or at each step of ``run_steps``: update once in it.

    Float32 and float64 parameters are updated in their own type. For 16-bit parameters the state
    is float32 and so is the arithmetic; the result is rounded once, to the parameter's type.

    Args:
        values: Hyper-parameter → number or schedule.
        groups: Parameters with hyper-parameters of their own, from ``optim.group``.
        max_norm: Scale all gradients so that their common norm is at most this, > 0; None: leave
            them. Applied after ``max_value``.
        max_value: Bring every gradient element into ± this, > 0; None: leave them.

    Raises:
        ArgumentError: A hyper-parameter outside its range, or one that this optimizer lacks.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        self.step = leaf(np.zeros((), np.int64), name="step", owned=True)
        self.state = {}
        # updates done before a parameter got its state: one unfrozen later starts its own count
        self._begun: dict[str, int] = {}
        super().__init__(values, groups, max_norm, max_value)

    @property
    def step(self) -> Array:
        """Updates done so far, an integer scalar."""
        return StepCount(self._step.node, self._step.index)

    @step.setter
    def step(self, value: Array) -> None:
        self._step = value

    # --- what subclasses say ----------------------------------------------------------------

    def slots(self) -> dict[str, Slot]:
        """What is kept for every parameter, by name."""
        return {}

    def begin(self, h: Scalars, t: Array) -> None:
        """Add to ``h`` the numbers that all parameters of a group share, computed in float64.

        Args:
            h: Hyper-parameters as weak float64 scalars; None for those left out.
            t: Number of this update, counted from 1, as a weak float64 scalar.
        """

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter.

        Args:
            parameter: θ.
            gradient: g, of θ's shape and type.
            state: The parameter's slots.
            h: Hyper-parameters and what ``begin`` added, in θ's type.

        Returns:
            The new parameter and the new slots.
        """
        raise NotImplementedError

    # --- as a container of Arrays: state of a compiled function ------------------------------

    def __tree_children__(self) -> list[tuple[str, Any]]:
        scalars = [(key, self._current(key)) for key in self._scalars if self._is_on(key)]
        limits = [(name, getattr(self, name)) for name in ("max_norm", "max_value")]
        return [
            *scalars,
            *((name, value) for name, value in limits if value is not None),
            ("step", self._step),
            ("state", self.state),
        ]

    def __tree_assign__(self, name: str, value: Any) -> None:
        if name in self._scalars:
            self._scalars[name] = value
        else:
            object.__setattr__(self, name, value)

    def __tree_static__(self) -> Hashable:
        late = tuple((path, begun) for path, begun in self._begun.items() if begun)
        patterns = tuple(given.pattern for given in self.groups)
        return patterns, late, tuple(getattr(self, name) for name in self.flags)

    def __tree_watch__(self) -> dict[str, Any]:
        return self.__dict__

    def __prepare__(self, arguments: Sequence[Any]) -> None:
        """Create state for the Module among a compiled function's arguments.

        With several Modules there, the optimizer must have been told its own:
        ``optimizer.initialise(model)``.
        """
        modules = find_modules(arguments)
        if len(modules) == 1:
            self._initialise(modules[0][1])
        elif len(modules) > 1 and not self.state:
            names = ", ".join(type(module).__name__ for module, _ in modules)
            raise StateError(
                f"{type(self).__name__} can not know which of several Modules it is to train",
                got=f"arguments with parameters: {names}",
                fix="optimizer.initialise(model), once, before the first call",
                where=str(here()),
            )

    def __step_scalars__(self, n_steps: int) -> dict[str, np.ndarray]:
        """The numbers that schedules give for the next ``n_steps`` updates."""
        if not self._schedules:
            return {}
        done = int(self.step)
        return {key: schedule.values(done, n_steps) for key, schedule in self._schedules.items()}

    # --- state ------------------------------------------------------------------------------

    def initialise(self, parameters: Any) -> None:
        """Create state for the trainable parameters that have none yet.

        ``update`` does it too; a compiled function needs it before its first call, and does it by
        itself if there is one Module among its arguments.

        Args:
            parameters: Module, or dict or list of Arrays: what ``update`` will be given.

        Raises:
            StateError: State that was loaded does not fit the parameters.
        """
        self._initialise(find_targets(parameters))

    def _initialise(self, targets: Targets) -> None:
        if not self.state:
            self._check_patterns([*targets.trainable, *targets.resting])
        for path, target in targets.trainable.items():
            self._initialise_one(path, target)

    def _initialise_one(self, path: str, target: Target) -> None:
        value, expected = target.value, self.slots()
        dtype = working_dtype(value.dtype)
        known = self.state.get(path)
        missing = [name for name in expected if name not in (known or {})]
        if (missing or known is None) and not self.step.is_concrete:
            raise StateError(
                f"{type(self).__name__} has no state for {path!r}, and a compiled function can not "
                "create any",
                fix="optimizer.initialise(parameters), once, before the first call",
                where=str(here()),
            )
        if known is None:
            self._begun[path] = int(self.step)
            known = self.state[path] = {}
        for name, slot in expected.items():
            shape = () if slot.scalar else value.shape
            if name not in known:
                data = np.full(shape, self._initial(path, slot), dtype=dtype)
                known[name] = leaf(data, name=f"{path}.{name}", owned=True)
            elif (known[name].shape, known[name].dtype) != (shape, dtype):
                raise StateError(
                    f"the optimizer's {name} does not fit the parameter {path!r}",
                    expected=f"{dtype}{list(shape)}",
                    got=f"{known[name].dtype}{list(known[name].shape)}",
                    fix="use an optimizer of its own for each model",
                    where=str(here()),
                )

    def _initial(self, path: str, slot: Slot) -> float:
        if isinstance(slot.initial, str):
            return float(self._current(self._key(slot.initial, self._matching(path))))
        return slot.initial

    def _check_patterns(self, paths: Sequence[str]) -> None:
        for given in self.groups:
            if not fnmatch.filter(paths, given.pattern):
                warnings.warn(
                    TeachingWarning(
                        f"the group {given.pattern!r} matches no parameter; there are "
                        f"{', '.join(paths[:8])}{', …' if len(paths) > 8 else ''} (at {here()})"
                    ),
                    stacklevel=stack_level(),
                )

    # --- updating ---------------------------------------------------------------------------

    def update(self, parameters: Any, gradients: Any) -> None:
        """Change the parameters, in place, by one step along their gradients.

        Works at once or inside a compiled function. Frozen parameters are left alone; tied ones
        change together. All new values are stored, or none.

        Args:
            parameters: Module, or dict or list of Arrays (nested ones too).
            gradients: For a Module ``{path: gradient}``, as ``cr.grad`` returns it; otherwise a
                container of the same structure.

        Raises:
            StateError: A gradient is missing or belongs to no parameter; in a compiled function:
                the optimizer was not among its arguments.
            ShapeError: A gradient has another shape than its parameter.

        >>> import chainrule as cr
        >>> from chainrule import optim
        >>> params = {"w": cr.variable([1.0, 2.0])}
        >>> optim.SGD(0.1).update(params, {"w": cr.asarray([1.0, -1.0])})
        >>> params["w"]
        Array([0.9, 2.1], float32)
        """
        targets = find_targets(parameters)
        found = match_gradients(targets, gradients)
        self._check_trace(found)
        for path, target in targets.trainable.items():
            if path not in self.state:
                self.initialise(parameters)
                break
            self._initialise_one(path, target)
        found = self._clip(found)
        step = self.step + 1
        computed = self._compute(targets.trainable, found, step)
        self._store(targets.trainable, computed, step)

    def _check_trace(self, gradients: Mapping[str, Array]) -> None:
        first = next(iter(gradients.values()), None)
        if first is not None and self.step.is_concrete and not first.is_concrete:
            raise StateError(
                f"{type(self).__name__} is used inside a compiled function without being one of "
                "its arguments",
                expected="step(model, optimizer, x, y)",
                fix="pass the optimizer as an argument: it is state that the function writes",
                where=str(here()),
            )

    def _clip(self, gradients: dict[str, Array]) -> dict[str, Array]:
        if self.max_value is not None:
            gradients = clip_by_value(gradients, weak_scalar(self.max_value))
        if self.max_norm is not None and gradients:
            gradients = clip_by_global_norm(gradients, weak_scalar(self.max_norm))[0]
        return gradients

    def _compute(
        self, targets: Mapping[str, Target], gradients: Mapping[str, Array], step: Array
    ) -> dict[str, tuple[Array, dict[str, Array]]]:
        """Apply the rule to every parameter; nothing is stored."""
        shared: dict[Any, Scalars] = {}
        computed = {}
        for path, target in targets.items():
            value = target.value
            dtype = working_dtype(value.dtype)
            new, slots = self.rule(
                ops.astype(value, dtype),
                ops.astype(gradients[path], dtype),
                self.state[path],
                self._scalars_of(path, dtype, step, shared),
            )
            computed[path] = ops.astype(self._shortened(path, new), value.dtype), slots
        return computed

    def _shortened(self, path: str, parameter: Array) -> Array:
        """The parameter with rows of the norm that a group allows, if one limits it."""
        key = self._key("max_row_norm", self._matching(path))
        if key not in self._scalars or parameter.ndim < 2:
            return parameter
        limit = ops.astype(weak_scalar(self._current(key)), parameter.dtype)
        return shorten_rows(parameter, limit)

    def _scalars_of(
        self, path: str, dtype: Dtype, step: Array, shared: dict[Any, Scalars]
    ) -> Scalars:
        """The hyper-parameters of one parameter; parameters of one kind share their nodes."""
        matching = self._matching(path)
        kind = (matching, self._begun.get(path, 0))
        if kind not in shared:
            h = Scalars()
            for name in [key for key in self._scalars if "." not in key]:
                key = self._key(name, matching)
                setattr(h, name, weak_scalar(self._current(key)) if self._is_on(key) else None)
            self.begin(h, weak_scalar(step - kind[1]))
            shared[kind] = h
        if (kind, dtype) not in shared:
            shared[kind, dtype] = shared[kind].cast(dtype)
        return shared[kind, dtype]

    def _store(
        self,
        targets: Mapping[str, Target],
        computed: Mapping[str, tuple[Array, dict[str, Array]]],
        step: Array,
    ) -> None:
        final = is_outermost()
        if final:
            slots = [x for _, new in computed.values() for x in new.values()]
            evaluate([step, *(value for value, _ in computed.values()), *slots])
        for path, (value, new) in computed.items():
            targets[path].assign(value, final=final)
            for name, x in new.items():
                label = f"{path}.{name}"
                self.state[path][name] = leaf(x.data, name=label, owned=True) if final else x
        self.step = leaf(step.data, name="step", owned=True) if final else step

    # --- saving -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on: numbers, and Arrays that never change.

        Returns:
            Nested dicts with the entries ``optimizer`` (its name), ``step``, ``state``,
            ``begun``, ``hyperparameters`` and ``schedules``.
        """
        return saving.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned; training goes on with the same bits.

        Args:
            state: Arrays may be NumPy arrays. Hyper-parameters are restored too; set them
                afterwards to go on with others.

        Raises:
            StateError: It was saved by another kind of optimizer, or with other groups, and
                nothing is changed.
        """
        saving.load_state_dict(self, state)


def working_dtype(dtype: Dtype) -> Dtype:
    """The type in which a parameter is updated: float32 for 16-bit parameters."""
    return dtypes.float32 if dtype.itemsize == 2 else dtype


def with_l2(gradient: Array, parameter: Array, h: Scalars) -> Array:
    """g + λθ: weight decay as the gradient of ½λ‖θ‖²."""
    return gradient if h.weight_decay is None else gradient + h.weight_decay * parameter


def adam_common(
    learning_rate: Rate, betas: tuple[Rate, Rate], epsilon: Rate, weight_decay: Rate
) -> dict[str, Rate]:
    """The hyper-parameters of Adam and its relatives, in order."""
    beta1, beta2 = pair(betas, "betas")
    return {
        "learning_rate": learning_rate,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": epsilon,
        "weight_decay": weight_decay,
    }
