"""Every example runs, asserts what it promises, and is short."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
# longer than 5 s where two cores are shared
SLOW = {
    "date_translation",
    "digits",
    "lenet_mnist",
    "long_memory",
    "optimizers_race",
    "masked_letters",
    "review_sentences",
    "shakespeare",
    "spectrograms_and_photographs",
    "volumes_and_video",
    "waveforms_and_skeletons",
    "what_it_sees",
}


def cases():
    for path in EXAMPLES:
        marks = [pytest.mark.slow] if path.stem in SLOW else []
        yield pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", list(cases()))
def test_an_example_keeps_its_promises(path, tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_what_it_shows(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 80
    assert text.startswith('"""')
