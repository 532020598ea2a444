"""Whole trainings: both engines within rounding, and the same bits on any number of threads."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from random_trainings import SIGNS, force_threads, outcome_of


def check_engines(number):
    native, optimizer = outcome_of(number)
    reference, _ = outcome_of(number, "interpreter")
    assert native.keys() == reference.keys()
    tolerance = 0.05 if optimizer in SIGNS else 1e-4
    for name, value in native.items():
        scale = 1e-2 + np.abs(reference[name]).max()
        worst = np.abs(value - reference[name]).max()
        assert worst <= tolerance * scale, f"training {number}, {optimizer}, {name}: {worst}"


def check_threads(number, monkeypatch):
    first = None
    for n in (1, 2, 3, 4):
        with monkeypatch.context() as patch:
            force_threads(patch, n)
            found, optimizer = outcome_of(number)
        bits = {name: value.tobytes() for name, value in found.items()}
        first = first or bits
        other = [name for name in bits if bits[name] != first[name]]
        assert not other, f"training {number}, {optimizer}, on {n} threads: {other}"


@pytest.mark.parametrize("number", [2, 3, 21])
def test_engines_agree(number):
    check_engines(number)


@pytest.mark.parametrize("number", [2, 21])
def test_threads_do_not_change_a_bit(number, monkeypatch):
    check_threads(number, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 140, 20))
def test_engines_agree_on_many(start):
    for number in range(start, start + 20):
        check_engines(number)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(200, 230, 10))
def test_threads_do_not_change_a_bit_of_many(start, monkeypatch):
    for number in range(start, start + 10):
        check_threads(number, monkeypatch)
