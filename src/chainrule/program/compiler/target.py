"""What a kernel may count on: vector width, registers, fused multiply-add, cache sizes."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
from dataclasses import dataclass

from chainrule.errors import ArgumentError


@dataclass(frozen=True)
class Target:
    """A processor as the compiler sees it.

    Args:
        name: ``avx512``, ``avx2``, ``sse2`` or ``neon``, or ``scalar``.
        triple: LLVM's triple; empty: the process's own.
        processor: LLVM's name of the processor.
        features: LLVM's feature string.
        vector_bytes: Bytes of one vector register.
        registers: Number of vector registers.
        has_fma: A fused multiply-add is one instruction.
        level1: Bytes of the first-level data cache of a core.
        level2: Bytes of the second-level cache of a core.
        matmul_rows: Rows of the widest register tile of a matrix product.
        matmul_vectors: Its vectors a row.
    """

    name: str
    triple: str
    processor: str
    features: str
    vector_bytes: int
    registers: int
    has_fma: bool
    level1: int = 32 * 1024
    level2: int = 512 * 1024
    matmul_rows: int = 6
    matmul_vectors: int = 2

    def lanes(self, itemsize: int) -> int:
        """Elements of ``itemsize`` bytes in one vector register (at least 1)."""
        return max(1, self.vector_bytes // itemsize)

    @property
    def architecture(self) -> str:
        """``x86`` or ``arm``."""
        return "arm" if self.name == "neon" else "x86"


X86 = "x86_64-unknown-linux-gnu"

TARGETS: dict[str, Target] = {
    "avx512": Target(
        "avx512",
        X86,
        "x86-64-v4",
        "-prefer-256-bit",
        64,
        32,
        True,
        48 * 1024,
        2 * 1024 * 1024,
        14,
        2,
    ),
    "avx2": Target("avx2", X86, "x86-64-v3", "", 32, 16, True),
    "sse2": Target("sse2", X86, "x86-64", "", 16, 16, False, matmul_rows=4, matmul_vectors=2),
    "neon": Target(
        "neon",
        "aarch64-unknown-linux-gnu",
        "generic",
        "+neon",
        16,
        32,
        True,
        64 * 1024,
        1024 * 1024,
        8,
        2,
    ),
    "scalar": Target("scalar", X86, "x86-64", "", 4, 16, False, matmul_rows=2, matmul_vectors=4),
}

#: families of x86, each of which runs the code of those before it
ASCENDING = ("scalar", "sse2", "avx2", "avx512")


@functools.cache
def host_target() -> Target:
    """The processor that this process runs on; ``CHAINRULE_TARGET`` names another family.

    Raises:
        ArgumentError: ``CHAINRULE_TARGET`` names no family, or one that this processor can not run.
    """
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    if platform.machine().lower() in ("aarch64", "arm64"):
        family = "neon"
    elif features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq"):
        family = "avx512"
    elif features.get("avx2") and features.get("fma"):
        family = "avx2"
    else:
        family = "sse2"
    asked = os.environ.get("CHAINRULE_TARGET", "")
    if asked:
        runnable = families_for(family)
        if asked not in runnable:
            raise ArgumentError(
                "CHAINRULE_TARGET names no target"
                if asked not in TARGETS
                else f"this processor can not run code for {asked}, as CHAINRULE_TARGET asks",
                expected=", ".join(runnable),
                got=asked,
                fix="unset it to compile for this machine",
            )
        return dataclasses.replace(TARGETS[asked], triple="")
    flags = features.flatten() + (",-prefer-256-bit" if family == "avx512" else "")
    return dataclasses.replace(
        TARGETS[family], triple="", processor=llvm.get_host_cpu_name(), features=flags
    )


def families_for(family: str) -> tuple[str, ...]:
    """The families whose code a processor of one family runs.

    >>> families_for("avx2")
    ('scalar', 'sse2', 'avx2')
    """
    if family not in ASCENDING:
        return (family,)
    return ASCENDING[: ASCENDING.index(family) + 1]
