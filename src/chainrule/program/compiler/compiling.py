"""From an imported block to machine code: lowering, barriers, memory, driver, object file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.program.compiler import debug, options
from chainrule.program.compiler.driver import Driver
from chainrule.program.compiler.instructions import Block, Tensor
from chainrule.program.compiler.kernel_facts import origins, titles
from chainrule.program.compiler.layouts import Panels
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.llvm.objects import object_of_module
from chainrule.program.compiler.lower import Lowering
from chainrule.program.compiler.machine import (
    KernelRecord,
    Machine,
    MachineCode,
    PanelRecord,
    PlaceRecord,
)
from chainrule.program.compiler.schedule import (
    Barrier,
    Item,
    allocate,
    kernels,
    lifetimes,
    listing,
    place_barriers,
    touched,
)
from chainrule.program.compiler.target import Target

ALONE = 5.0  # microseconds below which a second thread costs more than it does
ALONE_IN_CALLS = 50.0  # the same of a single run, for which it must be woken up first


@dataclass
class Assembly:
    """A block to compile, with its memory.

    Args:
        block: The block; its outputs are results of its own, each once.
        given: Outputs with a slot of their own, in order of the slots, after the inputs'.
        results: For each output of the graph where it comes from (see ``machine.Machine``).
        kept: Constants that leave as outputs.
        writes: Output → input whose memory it takes over when a step is done.
        loss: Output that must be finite before anything is overwritten.
        moving: Tensors of slots that advance with every step.
        resident: Inputs that hold the same from step to step, or state; they may be laid out at
            will.
    """

    block: Block
    given: list[Tensor]
    results: list[tuple[str, int]]
    kept: list[np.ndarray] = field(default_factory=list)
    writes: dict[Tensor, Tensor] = field(default_factory=dict)
    loss: Tensor | None = None
    moving: list[Tensor] = field(default_factory=list)
    resident: list[Tensor] = field(default_factory=list)


@dataclass
class Plan:
    """Everything about a program but its object file; what listings show.

    Args:
        module: The functions.
        schedule: Kernels, loops and barriers in order.
        machine: What it takes to run it.
        constants: Arrays that kernels read.
    """

    module: Module
    schedule: list[Item]
    machine: Machine
    constants: list[np.ndarray]


def plan(assembly: Assembly, target: Target, *, profiled: bool = False) -> Plan:
    """Lower a block and write its driver.

    Args:
        assembly: What to compile.
        target: The processor.
        profiled: Count the cycles of every kernel.
    """
    block = assembly.block
    module = Module(target)
    lowering = Lowering(module, checked=options.is_checked())
    items = lowering.lower(
        block, set(assembly.given), assembly.writes, assembly.loss, assembly.resident
    )
    schedule = place_barriers(items, lowering.root)
    if assembly.moving:  # the next step reads what this one wrote
        schedule.append(Barrier())
    constants = _constants(schedule, lowering)
    slots: dict[Tensor, int] = {}
    for tensor in [*block.inputs, *assembly.given, *constants]:
        slots[tensor] = len(slots)
    owned = [x for x in dict.fromkeys(map(lowering.root, lowering.owned)) if x not in slots]
    alive = lifetimes(schedule, lowering.root)
    offsets, arena_bytes = allocate(alive, owned, lowering.bytes_of)
    watched = list(kernels(schedule)) if profiled else []
    driver = Driver(module, slots, offsets, lowering.root, assembly.moving, watched)
    driver.write(schedule)
    debug.tell(debug.SCHEDULES, lambda: listing(schedule))
    machine = Machine(
        inputs=[(x.shape, x.dtype) for x in block.inputs],
        outputs=[(x.shape, x.dtype) for x in assembly.given],
        results=assembly.results,
        arena_bytes=arena_bytes,
        n_threads=_threads_worth(schedule, ALONE if assembly.moving else ALONE_IN_CALLS),
        blamed=[str(x.origin) for x in lowering.blamed],
        panels=_panels(block, lowering),
        kernels=[
            KernelRecord(k.title, k.where, k.tasks, k.flops, k.moved) for k in kernels(schedule)
        ],
        n_drawn=driver.n_drawn,
        places=[_place(x, at, lowering.bytes_of(x)) for x, at in offsets.items()],
    )
    return Plan(
        module, schedule, machine, [x.constant for x in constants if x.constant is not None]
    )


def compile_assembly(assembly: Assembly, target: Target, *, profiled: bool = False) -> MachineCode:
    """Machine code of a block."""
    with debug.timed("kernels and driver"):
        made = plan(assembly, target, profiled=profiled)
    text = str(made.module)
    debug.tell(debug.CODE, lambda: text)
    with debug.timed("machine code"):
        compiled = object_of_module(made.module, target)
    debug.tell(debug.CODE, lambda: jit.emit_assembly(text, target))
    return MachineCode(made.machine, compiled, made.constants, assembly.kept)


def _place(x: Tensor, offset: int, size: int) -> PlaceRecord:
    producer = x.producer
    title = f"{titles([producer]) if producer else x.name or 'value'} {x.dtype}{list(x.shape)}"
    return PlaceRecord(title, origins([producer] if producer else []), offset, size)


def _panels(block: Block, lowering: Lowering) -> dict[int, PanelRecord]:
    found = {}
    for number, x in enumerate(block.inputs):
        layout = lowering.layouts.get(x)
        if isinstance(layout, Panels):
            found[number] = PanelRecord(layout.shape, layout.axis, layout.width)
    return found


def _constants(items: Sequence[Item], lowering: Lowering) -> list[Tensor]:
    """The constants that are read from memory."""
    found: dict[Tensor, None] = {}
    for tensor in touched(items):
        owner = lowering.root(tensor)
        if owner.constant is not None:
            owner.constant = np.require(owner.constant, owner.dtype, ["C", "A"])
            found[owner] = None
    return list(found)


def _threads_worth(items: Sequence[Item], alone: float) -> int:
    """How many threads are worth waking: one for tiny programs.

    Args:
        items: The schedule.
        alone: Microseconds below which a second thread costs more than it does.
    """
    work = sum(k.microseconds for k in kernels(items))
    barriers = sum(isinstance(i, Barrier) for i in items)
    return 1 if work < alone + barriers / 2 else 64
