"""Every CHAINRULE_* variable that the code reads has a row in docs/environment.md, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"CHAINRULE_[A-Z_]+")


def test_the_table_of_environment_variables_is_complete():
    read = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in NAME.findall(path.read_text(encoding="utf-8"))
    }
    told = set(NAME.findall((ROOT / "docs" / "environment.md").read_text(encoding="utf-8")))
    assert read == told
