"""``compile``: a function that is traced once per signature and then replayed by an engine."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from chainrule import random
from chainrule.errors import TeachingWarning
from chainrule.ops.origin import here, stack_level
from chainrule.program.engines import choose_engine
from chainrule.program.exclusive import one_thread
from chainrule.program.program import Program
from chainrule.program.repetition import Repetitions
from chainrule.program.reuse import Shortcut, make_shortcut
from chainrule.program.signature import Call, describe, take_apart
from chainrule.program.tracing import trace_program
from chainrule.scope import is_outermost
from chainrule.tree import children, is_container

if TYPE_CHECKING:
    from chainrule.program.compiler.profile import Memory, Profile

MANY_SIGNATURES = 8
MOST_SHORTCUTS = 8
PATIENCE = 16  # shortcuts that served no call until they are made more seldom
MOST_PROGRAMS = 64  # kept for one function; the least recently used one makes room


class CompiledFunction:
    """A function that runs as a Program; call it like the function.

    Args:
        function: Builds a graph from its arguments; no side effects but writes to containers that
            are passed to it.
        engine: Name of the engine.
    """

    def __init__(self, function: Callable[..., Any], engine: str) -> None:
        self.function = function
        self.engine = engine
        self.programs: dict[Hashable, Program] = {}
        self._n_compilations = 0
        self._shortcuts: list[Shortcut] = []
        self.repetitions = Repetitions()
        self.__name__ = "function"
        functools.update_wrapper(self, function)

    @property
    def n_compilations(self) -> int:
        """How many signatures were traced so far."""
        return self._n_compilations

    def __call__(self, *arguments: Any) -> Any:
        """Run the Program of these arguments' signature; inside a trace, the function itself."""
        if not is_outermost():
            return self.function(*arguments)
        for shortcut in self._shortcuts:
            if shortcut.answer is not None:
                answer = shortcut.answer(arguments)
                if answer is not None:
                    return answer
                continue
            found = shortcut.run(arguments)
            if found is not None:
                shortcut.program.unused = 1
                return shortcut.results(found)
        call, program = self.prepare(arguments)
        made = self._shortcut(arguments, call, program)
        if made is not None:
            found = made.first_run(arguments)
            if found is not None:
                self._keep(made)
                return made.results(found)
        values = call.values()
        apply_step_scalars(arguments, call, values)
        results, state = program.run(values)
        program.write_back(call, _owned(state, call))
        return program.results(_owned(results, call))

    def _shortcut(self, arguments: Sequence[Any], call: Call, program: Program) -> Shortcut | None:
        """A short way for calls like this one: from the second on, if there is one."""
        program.unused += 1
        if program.unused == 1 or (program.unused > PATIENCE and program.unused % PATIENCE):
            return None  # looking for one in vain takes time too
        return make_shortcut(arguments, call, program, self._forget)

    def _keep(self, shortcut: Shortcut) -> None:
        others = [x for x in self._shortcuts if not shortcut.replaces(x)]
        self._shortcuts = [shortcut, *others][:MOST_SHORTCUTS]

    def _forget(self, shortcut: Shortcut) -> None:
        self._shortcuts = [x for x in self._shortcuts if x is not shortcut]

    def prepare(self, arguments: Sequence[Any]) -> tuple[Call, Program]:
        """Take the arguments apart and find, or trace, their Program.

        The ambient random state is an argument too: draws are effects of the Program.
        """
        with one_thread():
            return self._prepare(arguments)

    def _prepare(self, arguments: Sequence[Any]) -> tuple[Call, Program]:
        for argument in arguments:
            if hasattr(argument, "__prepare__"):
                argument.__prepare__(arguments)
        everything = [*arguments, random.ambient()]
        call = take_apart(everything)
        program = self.programs.pop(call.signature, None)
        if program is None:
            program = trace_program(self._with_random_state, everything, call, self.engine)
            program.name = self.__name__
            self._n_compilations += 1
            program.number = self._n_compilations
            if self._n_compilations == MANY_SIGNATURES + 1:
                self._warn_many(call)
            while len(self.programs) >= MOST_PROGRAMS:
                self.programs.pop(next(iter(self.programs)), None)
        self.programs[call.signature] = program  # the last one is the one used last
        return call, program

    def profile(self, *arguments: Any, seconds: float = 0.2) -> Profile:
        """Run on these arguments again and again, and say where the time goes.

        Nothing is written: state stays as it is. Training steps are better looked at as they run in
        training, by ``profile_steps``.

        Args:
            arguments: As for a call.
            seconds: How long to measure.

        Returns:
            A table of kernels to print; ``.rows`` as data, ``.memory`` for what they need.

        Raises:
            ArgumentError: The engine is the interpreter.
        """
        call, program = self.prepare(arguments)
        values = call.values()
        apply_step_scalars(arguments, call, values)
        return program.profile(values, seconds)

    def memory(self, *arguments: Any) -> Memory:
        """What a call with these arguments would need, known without running it.

        Raises:
            ArgumentError: The engine is the interpreter.
        """
        return self.prepare(arguments)[1].memory()

    def _with_random_state(self, *arguments: Any) -> Any:
        *own, state = arguments
        state.begin()
        result = self.function(*own)
        state.finish()
        return result

    def _warn_many(self, call: Call) -> None:
        warnings.warn(
            TeachingWarning(
                f"{self.__name__} was compiled for {self._n_compilations} signatures; each new "
                f"shape or setting compiles again. The last: {describe(call)}. Pad batches to "
                f"a few sizes, or pass changing numbers as floats or Arrays (at {here()})"
            ),
            stacklevel=stack_level(),
        )

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}, {self.engine}, {self.n_compilations} signatures>"


def _owned(values: Sequence[np.ndarray], call: Call) -> list[np.ndarray]:
    """Copy results that lie in an ndarray which the caller passed and may still write to."""
    foreign = [x.value for x in call.leaves if isinstance(x.value, np.ndarray)]
    return [
        value.copy() if any(np.may_share_memory(value, other) for other in foreign) else value
        for value in values
    ]


def step_scalars(arguments: Sequence[Any], call: Call, n_steps: int) -> dict[int, np.ndarray]:
    """Values of traced scalars for the next steps, by slot: schedules become vectors.

    Args:
        arguments: Objects of any depth may define ``__step_scalars__(n_steps)``.
        call: The arguments, taken apart.
        n_steps: How many steps are about to run.
    """
    slots = {
        (id(leaf.owner), leaf.key): number
        for leaf, number in zip(call.leaves, call.slot_of, strict=True)
    }
    found: dict[int, np.ndarray] = {}
    pending = list(arguments)
    while pending:
        x = pending.pop()
        if hasattr(x, "__step_scalars__"):
            for name, values in x.__step_scalars__(n_steps).items():
                found[slots[id(x), name]] = np.asarray(values, dtype=np.float64)
        if is_container(x):
            pending += [child for _, child in children(x)]
    return found


def apply_step_scalars(arguments: Sequence[Any], call: Call, values: list[np.ndarray]) -> None:
    """Put the scalars of the next single step into ``values``."""
    for number, vector in step_scalars(arguments, call, 1).items():
        values[number] = np.asarray(vector[0])


@overload
def compile(function: Callable[..., Any], *, engine: str | None = None) -> CompiledFunction: ...


@overload
def compile(
    function: None = None, *, engine: str | None = None
) -> Callable[[Callable[..., Any]], CompiledFunction]: ...


def compile(function: Callable[..., Any] | None = None, *, engine: str | None = None) -> Any:
    """Compile a function: trace it once per signature, then replay it as a Program.

    Containers among the arguments (Modules, optimizers, dicts, lists) are state: what the function
    stores into them is written back when the Program has run. Python floats are traced scalars, so
    that changing them does not compile again; ints, strings and bools are part of the signature.

    Args:
        function: The function; without it, a decorator is returned.
        engine: ``"compiler"`` (machine code; the default where llvmlite is installed) or
            ``"interpreter"`` (NumPy). None takes the default.

    Raises:
        ArgumentError: No such engine, or it is the compiler and llvmlite is not installed.

    >>> import chainrule as cr
    >>> double = cr.compile(lambda x: x * 2)
    >>> double(cr.asarray([1.0, 2.0]))
    Array([2., 4.], float32)
    """
    name = choose_engine(engine)
    if function is None:
        return lambda given: CompiledFunction(given, name)
    return CompiledFunction(function, name)
