"""The source tree as the house tests see it: modules by name, and what each imports."""

import ast
import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("schemas", "producers", "stream_processors", "inference_consumers", "delivery", "infra")
STANDARD: Final = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module.

    Args:
        name: the module that is imported; of our own tree the full module, whether or not `from` was used.
        line: where it stands.
        is_lazy: True inside a function: it happens when it is called.
        level: how many dots a relative import has; 0 is absolute.
    """

    name: str
    line: int
    is_lazy: bool
    level: int

    @property
    def top(self) -> str:
        """The first part of the name: the library or package."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Module:
    """One file of ours."""

    name: str
    path: Path
    imports: tuple[Import, ...]

    @property
    def package(self) -> str:
        """The top-level package."""
        return self.name.partition(".")[0]

    @property
    def file(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def room(self) -> str:
        """The package that directly holds it, such as `delivery.hub`; for a package's front door itself."""
        return self.name if self.file == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def place(self) -> str:
        """The path from the root, for messages."""
        return str(self.path.relative_to(ROOT))


def modules() -> dict[str, Module]:
    """Every module of ours by name."""
    files = {_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
    return {name: Module(name, path, imports(path, files.keys())) for name, path in files.items()}


def files_of_tests() -> list[Path]:
    """Every file that holds tests."""
    return sorted((ROOT / "tests").rglob("test_*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, known: Container[str]) -> tuple[Import, ...]:
    """What a file imports; `known` tells `from package import module` from `from module import name`."""
    found: list[Import] = []

    def visit(node: ast.AST, *, is_lazy: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inside = is_lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, child.lineno, inside, 0) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    found.append(Import(full if full in known else base, child.lineno, inside, child.level))
            visit(child, is_lazy=inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), is_lazy=False)
    return tuple(dict.fromkeys(found))
