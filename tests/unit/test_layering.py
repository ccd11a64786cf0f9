import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mexport_pb

ROOT = Path(mexport_pb.__file__).parent

# From top to bottom; a room may import from those below it. Rooms of one line do not know each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"export"},
    {"inspect"},
    {"runtime"},
    {"warmup"},
    {"table"},
    {"graph"},
    {"check"},
    {"messages"},
    {"bundle"},
    {"record"},
    {"dtypes"},
    {"errors", "_core", "_proto"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SOURCES = sorted(p for p in ROOT.rglob("*.py") if "_proto" not in p.parts)


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return None if parts == ("__init__",) else parts[0]


def imported_modules(path):
    """Every imported module, lazy imports within functions among them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(path, room, modules):
    for module in modules:
        first, *rest = module.split(".")
        if first in ("tensorflow", "tensorflow_serving") and room != "runtime":
            yield f"{path}: imports {module}"
        if first == "mexport_pb" and rest and rest[0] in FLOOR_OF and room is not None:
            own, other = FLOOR_OF[room], FLOOR_OF[rest[0]]
            if rest[0] != room and other <= own:
                yield f"{path}: {room} imports {module}, which is not below it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_downwards_only(path):
    assert list(violations(path, room_of(path), imported_modules(path))) == []


def test_the_rule_finds_violations():
    assert list(violations("x", "graph", ["mexport_pb.export.writer"]))
    assert list(violations("x", "graph", ["tensorflow.core"]))
    assert not list(violations("x", "export", ["mexport_pb.graph", "mexport_pb.runtime"]))
    assert not list(violations("x", "runtime", ["tensorflow"]))


def test_every_room_has_its_floor():
    assert {room_of(p) for p in SOURCES} - {None} <= set(FLOOR_OF)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    ).stdout


def test_using_every_public_name_loads_no_tensorflow():
    code = """
import sys, mexport_pb
for name in mexport_pb.__all__:
    getattr(mexport_pb, name)
import mexport_pb.cli
print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'tensorflow_serving', 'keras')])
"""
    assert run(code).strip() == "[]"


def test_import_alone_loads_none_of_the_rooms():
    code = "import sys, mexport_pb; print([m for m in sys.modules if m.startswith(('mexport_pb.', 'numpy', 'google'))])"
    assert run(code).strip() == "[]"


def test_public_names_are_the_same_for_type_checkers_and_at_run_time():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    declared = {alias.name for node in block.body for alias in node.names}
    assert declared == set(mexport_pb.__all__) - {"__version__"}
    for name in mexport_pb.__all__:
        assert getattr(mexport_pb, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mexport_pb.nothing
