"""Golden listings: the kernels of small programs, as they were when someone last looked at them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from listed_programs import FOLDER, PROGRAMS

RENEW = "if it is meant: python tests/program/compiler/listed_programs.py, and read the difference"


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_are_those_of_the_listing(name):
    kept = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert PROGRAMS[name]() == kept, RENEW


def test_no_listing_is_left_over():
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(PROGRAMS)
