"""Each module has its test beside it in the mirrored tree, and each test says what it shows."""

import ast
from collections.abc import Mapping
from pathlib import Path

from tests.house.tree import ROOT, Module, files_of_tests, imports, modules

# Files that need no twin, and what shows them instead.
WITHOUT_TWIN = {
    "__init__.py": "a front door: what it opens has its own test",
    "settings.py": "plain values: tests/house/test_docs.py reads every field",
    "port.py": "a promise: its contract suite in tests/contract holds every implementation to it",
    "main.py": "wiring: the journeys run it",
}
# Modules whose test bears another name, or none, and why.
TOLD_ELSEWHERE = {
    "infra.runtime.clock": "four lines over the standard library",
}


def _twin(module: Module) -> Path:
    return ROOT / "tests" / module.path.relative_to(ROOT).parent / f"test_{module.file}"


def _met(path: Path, known: Mapping[str, Module]) -> set[str]:
    """The modules of ours that a test file imports."""
    return {each.name for each in imports(path, known.keys()) if each.name in known}


def _shown(known: Mapping[str, Module]) -> set[str]:
    """Modules with a test of their name, and those that the tests of their room reach through the room itself."""
    shown = {name for name, module in known.items() if _twin(module).exists()}
    rooms: dict[Path, list[Module]] = {}
    for module in known.values():
        rooms.setdefault(_twin(module).parent, []).append(module)
    for folder, members in rooms.items():
        room = {module.name for module in members}
        waiting = [name for path in sorted(folder.glob("test_*.py")) for name in _met(path, known) if name in room]
        while waiting:
            name = waiting.pop()
            shown.add(name)
            waiting += [each.name for each in known[name].imports if each.name in room and each.name not in shown]
    return shown


def test_each_module_has_its_test() -> None:
    """A module that no test of its room reaches fails here, unless the table above says what shows it."""
    known = modules()
    shown = _shown(known)
    missing = [
        f"{module.place}: write {_twin(module).relative_to(ROOT)}"
        for module in known.values()
        if module.file not in WITHOUT_TWIN and module.name not in TOLD_ELSEWHERE and module.name not in shown
    ]
    assert not missing, "\n".join(missing)


def test_exceptions_are_needed() -> None:
    """The table of exceptions names only modules that exist and that no test of their room reaches."""
    known = modules()
    shown = _shown(known)
    stale = [name for name in TOLD_ELSEWHERE if name not in known or name in shown]
    assert not stale


def test_each_test_opens_with_its_sentence() -> None:
    """A reader learns from the first line of a test what holds when it passes."""
    silent = []
    for path in files_of_tests():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                told = ast.get_docstring(node) or ""
                if len(told.split()) < 3 or not told.partition("\n\n")[0].rstrip().endswith(
                    (".", "!", "?", ":", '."', ".`")
                ):
                    silent.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert not silent, "\n".join(silent)


def test_no_sleep_stands_for_an_event() -> None:
    """A test may look again and again until a limit, but never sleeps a fixed time and hopes: that hides a race."""
    found = []
    for path in files_of_tests():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        looping = {
            id(inner)
            for loop in ast.walk(tree)
            if isinstance(loop, (ast.While, ast.For, ast.AsyncFor))
            for inner in ast.walk(loop)
        }
        for node in ast.walk(tree):
            is_sleep = isinstance(node, ast.Call) and ast.unparse(node.func) in ("asyncio.sleep", "time.sleep")
            # sleep(0) lets others run: an event of the loop, not a time.
            if is_sleep and id(node) not in looping and not ast.unparse(node).endswith("sleep(0)"):
                found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}")
    assert not found, "\n".join(found)
