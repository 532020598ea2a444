"""Promises of SECURITY.md that can be read off the source."""

import ast
from pathlib import Path

import pytest

import chainrule

FILES = sorted(Path(chainrule.__file__).parent.rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
NETWORK_MODULES = {"urllib", "requests", "socket", "http", "ftplib", "telnetlib", "smtplib"}
MAY_USE_THE_NETWORK = ("data/fetching.py",)  # what a user asks to be downloaded, by name
FORBIDDEN_CALLS = {"eval", "exec"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_unpickled_evaluated_or_sent(path):
    forbidden = FORBIDDEN_MODULES
    if not path.as_posix().endswith(MAY_USE_THE_NETWORK):
        forbidden = forbidden | NETWORK_MODULES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] not in forbidden, f"line {node.lineno}: {name}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"line {node.lineno}: {node.func.id}"
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert isinstance(keyword.value, ast.Constant)
                    assert keyword.value.value is False


def test_library_code_does_not_print():
    for path in FILES:
        if "cli" in path.parts or path.stem == "progress":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}:{node.lineno}"
