"""Each module has its test beside it in the mirrored tree, and each test says what it shows."""

import ast
from pathlib import Path

from tests.house.tree import ROOT, Module, files_of_tests, modules

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


def _is_shown(module: Module) -> bool:
    """True with a test of its name, or when a test of its own room names it in an import."""
    if _twin(module).exists():
        return True
    room = module.name.rpartition(".")[0]
    for path in _twin(module).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, (ast.Import, ast.ImportFrom)) else set()
            if isinstance(node, ast.ImportFrom) and node.module == module.name:
                return True
            if isinstance(node, ast.ImportFrom) and node.module == room and module.path.stem in names:
                return True
            if isinstance(node, ast.Import) and module.name in names:
                return True
    return False


def test_each_module_has_its_test() -> None:
    """A module that no test of its room is about fails here, unless the table above says what shows it."""
    missing = [
        f"{module.place}: write {_twin(module).relative_to(ROOT)}"
        for module in modules().values()
        if module.file not in WITHOUT_TWIN and module.name not in TOLD_ELSEWHERE and not _is_shown(module)
    ]
    assert not missing, "\n".join(missing)


def test_exceptions_are_needed() -> None:
    """The table of exceptions names only modules that exist and that no test of their room is about."""
    known = modules()
    stale = [name for name in TOLD_ELSEWHERE if name not in known or _is_shown(known[name])]
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
