"""docs/api.md is what the generator writes: a public name can not change unseen."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_reference_is_up_to_date():
    path = ROOT / "tools" / "api_reference.py"
    spec = importlib.util.spec_from_file_location("api_reference", path)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.reference() == (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), (
        "the public names changed: run python tools/api_reference.py and look at the difference"
    )
