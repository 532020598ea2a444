"""From LLVM text to machine code in this process: objects as bytes, and libraries linked from them.

LLVM's modules are not safe to use from several threads at once, so everything here happens under
one lock; one caller's parts of a module are compiled on threads of its own (``emit_objects``).
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.errors import CompilerError
from chainrule.program.compiler.target import Target

MOST_LIBRARIES = 64  # of one loader

_lock = threading.RLock()
_library_numbers = itertools.count()

if hasattr(os, "register_at_fork"):
    # a fork waits until nobody compiles: the child would find LLVM half-way through something
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


class Library:
    """Machine code that is loaded into the process; it lives as long as this object.

    Args:
        tracker: llvmlite's handle.
        addresses: Exported function → address.
        session: Where it is loaded; goes when its last library has gone.
    """

    def __init__(self, tracker: Any, addresses: Mapping[str, int], session: Any) -> None:
        self._tracker = tracker
        self._session = session
        self.addresses = dict(addresses)


@functools.cache
def _bindings() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm


@functools.cache
def _machine(target: Target, level: int = 3, number: int = 0) -> Any:
    """What emits machine code; a thread at a time may use one, so that each has a number."""
    llvm = _bindings()
    triple = target.triple or llvm.get_process_triple()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=target.processor, features=target.features, opt=level, reloc="pic", codemodel="default"
    )


class _Session:
    """LLVM's loader. It keeps some 9 KB of names of every library, also of those that have gone.

    So a new one takes over from time to time, and the old one goes with its last library.
    """

    loader: Any = None
    n_loaded = 0

    @classmethod
    def current(cls) -> Any:
        """The loader for the next library."""
        if cls.loader is None or cls.n_loaded >= MOST_LIBRARIES:
            # JITLink lays the sections of an object side by side. The older linker maps each where
            # there is room, and in a large process aborts when code and its constants lie over
            # 2 GB apart.
            cls.loader = _bindings().create_lljit_compiler(use_jit_link=True)
            cls.n_loaded = 0
        cls.n_loaded += 1
        return cls.loader


def _parse(text: str, target: Target, context: Any = None) -> Any:
    llvm = _bindings()
    machine = _machine(target)
    try:
        module = llvm.parse_assembly(text, context)
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise CompilerError(f"LLVM refused generated code: {error}") from error
    return module


def emit_object(text: str, target: Target, level: int = 3) -> bytes:
    """Compile the text of a module to an object file.

    Args:
        text: LLVM IR.
        target: What it is compiled for.
        level: How hard code generation tries, from 0 (a quarter of the time, every value spilled)
            to 3.

    Raises:
        CompilerError: The text is not a valid module: a fault of the compiler.
    """
    with _lock:
        return bytes(_machine(target, level).emit_object(_parse(text, target)))


def emit_objects(texts: Sequence[str], target: Target) -> list[bytes]:
    """Compile several modules side by side, each on a thread.

    Args:
        texts: LLVM IR of each.
        target: What they are compiled for.

    Raises:
        CompilerError: A text is not a valid module: a fault of the compiler.
    """
    emit = _unlocked_emit()
    if len(texts) < 2 or emit is None:
        return [emit_object(text, target) for text in texts]
    found: list[bytes | BaseException] = [b""] * len(texts)
    with _lock:
        # a context belongs to one thread at a time; everything but the emission is done by this one
        contexts = [_bindings().create_context() for _ in texts]
        modules = [_parse(x, target, c) for x, c in zip(texts, contexts, strict=True)]
        machines = [_machine(target, number=number) for number in range(len(texts))]

        def work(number: int) -> None:
            try:
                found[number] = emit(machines[number], modules[number])
            except BaseException as error:
                found[number] = error

        threads = []
        for number in range(1, len(texts)):
            thread = threading.Thread(target=work, args=(number,))
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                work(number)
            else:
                threads.append(thread)
        work(0)
        for thread in threads:
            thread.join()
        for module in modules:
            module.close()
        for context in contexts:
            context.close()
    objects = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        objects.append(each)
    return objects


@functools.cache
def _unlocked_emit() -> Callable[[Any, Any], bytes] | None:
    """Emission of an object file without llvmlite's lock, which lets one thread in at a time.

    LLVM itself allows what is done here: threads that have contexts and target machines of their
    own. None if llvmlite does not have what this needs.
    """
    from llvmlite.binding import ffi

    _bindings()
    try:
        library = ffi.lib
        raw = ctypes.CDLL(library._name, handle=library._handle).LLVMPY_TargetMachineEmitToMemory
        known = library.LLVMPY_TargetMachineEmitToMemory
        raw.argtypes, raw.restype = known.argtypes, known.restype
        output_string = ffi.OutputString
    except AttributeError:
        return None

    def emit(machine: Any, module: Any) -> bytes:
        with output_string() as message:
            buffer = raw(machine, module, 1, message)
            if not buffer:
                raise CompilerError(f"LLVM made no machine code: {message}")
        try:
            return ctypes.string_at(
                library.LLVMPY_GetBufferStart(buffer), library.LLVMPY_GetBufferSize(buffer)
            )
        finally:
            library.LLVMPY_DisposeMemoryBuffer(buffer)

    return emit


def emit_assembly(text: str, target: Target) -> str:
    """Compile the text of a module to assembly, to be read or inspected."""
    with _lock:
        return str(_machine(target).emit_assembly(_parse(text, target)))


def load(objects: Sequence[bytes], exports: Sequence[str]) -> Library:
    """Link object files into the process and find the functions named in ``exports``."""
    with _lock:
        llvm = _bindings()
        builder = llvm.JITLibraryBuilder().add_current_process()
        for data in objects:
            builder.add_object_img(data)
        for name in exports:
            builder.export_symbol(name)
        session = _Session.current()
        try:
            tracker = builder.link(session, f"chainrule{next(_library_numbers)}")
        except RuntimeError as error:
            raise CompilerError(f"machine code could not be loaded: {error}") from error
        return Library(tracker, {name: tracker[name] for name in exports}, session)
