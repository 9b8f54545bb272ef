"""docs/settings.md out of the code: every section that a program reads, found in the syntax trees.

Run as a program it prints the page (`make docs`); as a test it is compared with the file.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from infra.runtime.settings import describe
from tests.house.tree import Module, modules

HEAD: Final = """\
# Settings

Every setting of every section, as the code declares it (`make docs` writes this page). A key stands in `parley.toml`
under its `[section]` and is also the environment's `PARLEY_SECTION_KEY`; of a secret `PARLEY_SECTION_KEY_FILE` may name
a file that holds it. A command's option beats the environment, that beats the file, that beats the default. All faults
are told at once, one line each; a name that nobody knows is refused. `--config` or `PARLEY_CONFIG` names the file.
"""


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """One place where a section is read."""

    section: str
    is_table: bool
    module: str
    kind: str
    place: str


def reads() -> tuple[Read, ...]:
    """Every `source.read(Kind, "section")` and `read_table` of the tree."""
    return tuple(sorted({read for module in modules().values() for read in _reads(module)}))


def sections() -> dict[tuple[str, bool], type[Any]]:
    """The class of each section, by its name and whether it is a table of names."""
    return {(read.section, read.is_table): getattr(import_module(read.module), read.kind) for read in reads()}


def page() -> str:
    """The whole page."""
    return HEAD + "".join(
        _section(name, kind, is_table=is_table) for (name, is_table), kind in sorted(sections().items())
    )


def _section(name: str, kind: type[Any], *, is_table: bool) -> str:
    title = f"[{name}.NAME]" if is_table else f"[{name}]"
    about = (kind.__doc__ or "").partition("\n")[0]
    lines = [f"\n## `{title}`\n\n{about}\n\n| key | environment | value | default | meaning |\n|---|---|---|---|---|\n"]
    for row in describe(kind, f"{name}.NAME" if is_table else name):
        secret = " (secret)" if row.secret else ""
        doc = row.doc.replace("|", "\\|")
        default = (
            "none" if row.default == "none" else f"`{row.default}`" if row.default != "required" else "**required**"
        )
        lines.append(f"| `{row.key}` | `{row.variable}` | {row.kind}{secret} | {default} | {doc} |\n")
    return "".join(lines)


def _reads(module: Module) -> Iterator[Read]:
    tree = ast.parse(module.path.read_text(encoding="utf-8"))
    origins = {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in ("read", "read_table") or len(node.args) != 2:
            continue
        kind, section = node.args
        if isinstance(kind, ast.Name) and kind.id.endswith("Settings") and isinstance(section, ast.Constant):
            origin = origins.get(kind.id, module.name)
            place = f"{module.place}:{node.lineno}"
            yield Read(str(section.value), node.func.attr == "read_table", origin, kind.id, place)


if __name__ == "__main__":
    sys.stdout.write(page())
