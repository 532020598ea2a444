"""LLVM's types and constants as text: ``float``, ``<8 x float>``, ``i64``."""

from __future__ import annotations

import struct

import numpy as np


def vector(element: str, lanes: int) -> str:
    """The type of ``lanes`` elements; with one lane the element's own."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def element_of(type_: str) -> str:
    """``float`` of ``<8 x float>``; a scalar's type is its own."""
    return type_[type_.index("x ") + 2 : -1] if type_.startswith("<") else type_


def lanes_of(type_: str) -> int:
    """8 of ``<8 x float>``; 1 of a scalar."""
    return int(type_[1 : type_.index(" ")]) if type_.startswith("<") else 1


def size_of(type_: str) -> int:
    """Bytes of one element of ``type_``."""
    sizes = {"i1": 1, "i8": 1, "i16": 2, "half": 2, "bfloat": 2, "i32": 4, "float": 4}
    return sizes.get(element_of(type_), 8)


def is_float(type_: str) -> bool:
    """True for the floating types, vectors of them too."""
    return element_of(type_) in ("float", "double", "half", "bfloat")


def literal(element: str, number: float | int | bool) -> str:
    """A constant as LLVM writes it; floats exactly, by their bits."""
    if element == "i1":
        return "true" if number else "false"
    if element.startswith("i"):
        return str(int(number))
    if element == "half":
        return f"0xH{np.float16(number).view(np.uint16):04X}"
    if element == "bfloat":
        return f"0xR{_round_to_bfloat(float(number)):04X}"
    with np.errstate(over="ignore"):
        value = float(np.float32(number)) if element == "float" else float(number)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _round_to_bfloat(number: float) -> int:
    import ml_dtypes

    return int(np.asarray(number, dtype=ml_dtypes.bfloat16).view(np.uint16))


def suffix(type_: str) -> str:
    """The type in an intrinsic's name: ``v8f32`` of ``<8 x float>``."""
    element = element_of(type_)
    short = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}
    lanes = lanes_of(type_)
    return (f"v{lanes}" if lanes > 1 else "") + short.get(element, element)
