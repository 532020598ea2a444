"""The floors hold: imports run downwards only, and no two files import each other."""

import ast
from pathlib import Path

import chainrule

ROOT = Path(chainrule.__file__).parent
FLOORS = [
    {"ops", "errors", "version"},
    {"graph", "execution", "array", "tree", "scope", "random"},
    {"autodiff", "program", "control"},
    {"nn", "optim", "data", "metrics", "plots"},
    {"models", "training"},
    {"evaluation", "generation", "insight"},
    {"cli", "estimators", "explain", "interop", "web"},
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
MAY_IMPORT_SIDEWAYS = {("optim", "nn"), ("optim", "plots"), ("cli", "explain")}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Every module of the package that a file imports, at the top or late."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("chainrule")}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative imports hide where a name comes from"
            if node.module and node.module.split(".")[0] == "chainrule":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in FILES else node.module)
    return found


def part(name: str) -> str:
    """The folder or file right below the package."""
    return name.split(".")[1] if "." in name else ""


def test_every_part_stands_on_a_floor():
    parts = {part(name) for name in FILES} - {"", "__main__"}
    assert parts <= set(FLOOR_OF), f"without a floor: {parts - set(FLOOR_OF)}"


def test_imports_run_downwards():
    wrong = []
    for name in FILES:
        own = part(name)
        if own in ("", "__main__"):
            continue
        for imported in imports_of(name):
            other = part(imported)
            if not other:
                wrong.append(f"{name} imports the façade {imported}")
            elif FLOOR_OF[other] > FLOOR_OF[own]:
                wrong.append(f"{name} imports {imported}, which is above it")
            elif (
                FLOOR_OF[other] == FLOOR_OF[own] >= 3
                and other != own
                and (own, other) not in MAY_IMPORT_SIDEWAYS
            ):
                wrong.append(f"{name} imports {imported} on its own floor")
    assert not wrong, "\n".join(wrong)


def test_no_import_circles():
    edges = {
        name: {other for other in imports_of(name) if other in FILES and other != name}
        for name in FILES
        if name != "chainrule"
    }
    done: set[str] = set()
    for start in edges:
        stack = [(start, iter(sorted(edges[start])))]
        path = [start]
        while stack:
            name, others = stack[-1]
            other = next(others, None)
            if other is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif other in path:
                raise AssertionError("circle: " + " → ".join([*path[path.index(other) :], other]))
            elif other not in done and other in edges:
                stack.append((other, iter(sorted(edges[other]))))
                path.append(other)


def test_the_reader_of_imports_sees_late_ones(tmp_path, monkeypatch):
    late = tmp_path / "late.py"
    late.write_text("def f():\n    from chainrule.cli import main\n    return main\n")
    monkeypatch.setitem(FILES, "chainrule.ops.late", late)
    assert imports_of("chainrule.ops.late") == {"chainrule.cli"}
