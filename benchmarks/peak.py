"""The machine's peak: fused multiply-adds in registers, on every thread at once."""

from __future__ import annotations

import ctypes
import os
import threading
import time

import llvmlite.binding as llvm

CHAINS = 24
"""Independent sums: enough to hide an fma's latency twice over, few enough to stay in registers."""

ITERATIONS = 15_000_000
"""Rounds a measurement: tens of milliseconds."""


def _vector_width(features: str) -> int:
    enabled = set(features.split(","))
    if "+avx512f" in enabled:
        return 16
    if "+avx" in enabled:
        return 8
    return 4


def peak_ir(width: int, chains: int) -> str:
    """LLVM IR of ``float peak(i64 n)``: n rounds of ``chains`` fmas on ``width`` floats."""
    vector = f"<{width} x float>"

    def constant(value: str) -> str:
        return f"<{', '.join([f'float {value}'] * width)}>"

    fma = f"{vector} @llvm.fma.v{width}f32"
    factor, term = f"{vector} {constant('0.5')}", f"{vector} {constant('0.25')}"
    chain = range(chains)
    lines = [
        f"declare {fma}({vector}, {vector}, {vector})",
        "define float @peak(i64 %rounds) {",
        "entry:",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [0, %entry], [%next, %loop]",
        *[f"  %c{i} = phi {vector} [{constant(f'{i}.0')}, %entry], [%n{i}, %loop]" for i in chain],
        *[f"  %n{i} = call {fma}({vector} %c{i}, {factor}, {term})" for i in chain],
        "  %next = add i64 %i, 1",
        "  %more = icmp ult i64 %next, %rounds",
        "  br i1 %more, label %loop, label %out",
        "out:",
        *[f"  %x{i} = extractelement {vector} %n{i}, i32 0" for i in chain],
        "  %s0 = fadd float 0.0, %x0",
        *[f"  %s{i} = fadd float %s{i - 1}, %x{i}" for i in chain[1:]],
        f"  ret float %s{chains - 1}",
        "}",
    ]
    return "\n".join(lines) + "\n"


class Peak:
    """The fma kernel, compiled; ``measure`` times it."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features().flatten()
        self.width = _vector_width(features)
        # 16 registers on AVX2 and SSE, 32 elsewhere
        self.chains = CHAINS if self.width != 8 else 12
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features + ",-prefer-256-bit", opt=3
        )
        module = llvm.parse_assembly(peak_ir(self.width, self.chains))
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        address = self._engine.get_function_address("peak")
        self._kernel = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(address)

    def measure(self, n_threads: int, iterations: int = ITERATIONS) -> float:
        """GFLOP/s of ``n_threads`` threads together, float32."""
        gate = threading.Barrier(n_threads + 1)

        processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

        def run(number: int) -> None:
            if processors:  # of this thread alone; else both may begin on one core
                os.sched_setaffinity(0, {processors[number % len(processors)]})
            gate.wait()
            self._kernel(iterations)
            gate.wait()

        threads = [threading.Thread(target=run, args=(i,)) for i in range(n_threads)]
        for thread in threads:
            thread.start()
        gate.wait()
        start = time.perf_counter()
        gate.wait()
        seconds = time.perf_counter() - start
        for thread in threads:
            thread.join()
        return n_threads * iterations * self.chains * self.width * 2 / seconds / 1e9
