"""What documents claim: settings, the code blocks of README and DESIGN, and the names they use."""

import ast
import re
import shlex
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from infra.cli.main import COMMANDS
from infra.cli.sections import SECTIONS, TABLES
from infra.runtime.settings import NOT_SETTINGS, SettingRow, describe
from tests.house import asyncapi_page
from tests.house.settings_page import page, reads, sections
from tests.house.tree import ROOT

DOCUMENTS: Final = sorted(
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("**/DESIGN.md"),
        *(ROOT / "docs").glob("*.md"),
    )
    if not {part for part in path.relative_to(ROOT).parts if part.startswith(".")}
)
MAKE_TARGETS: Final = frozenset(
    re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)


def blocks(path: Path) -> list[tuple[int, str, str]]:
    """Line, language and text of each fenced block."""
    found: list[tuple[int, str, str]] = []
    lines: list[str] = []
    language: str | None = None
    began = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"^\s*```(\w*)", line)
        if fence and language is None:
            language, began, lines = fence[1], number, []
        elif fence:
            found.append((began, language or "", "\n".join(lines)))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{path}: a block isn't closed"
    return found


BLOCKS: Final = [
    pytest.param(language, text, id=f"{path.relative_to(ROOT)}:{line}")
    for path in DOCUMENTS
    if path.exists()
    for line, language, text in blocks(path)
]


def test_the_page_of_settings_is_the_code_s() -> None:
    """docs/settings.md says what the code reads, no less and no more; `make docs` writes it anew."""
    file = ROOT / "docs" / "settings.md"
    assert file.exists(), "run `make docs`"
    assert file.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_protocol_s_document_is_the_code_s() -> None:
    """docs/asyncapi.json has the frames as the code has them; `make docs` writes it anew."""
    file = ROOT / "docs" / "asyncapi.json"
    assert file.exists(), "run `make docs`"
    assert file.read_text(encoding="utf-8") == asyncapi_page.page(), "run `make docs`"


def test_every_setting_says_what_it_means() -> None:
    """No setting stands without its meaning."""
    silent = [
        f"{kind.__name__}.{row.key}"
        for (section, _), kind in sections().items()
        for row in describe(kind, section)
        if not row.doc
    ]
    assert not silent


def test_a_section_is_one_thing() -> None:
    """Where two packages read one section, which neither may import from the other, both describe the same."""
    described: dict[str, set[tuple[SettingRow, ...]]] = {}
    for read in reads():
        rows = describe(getattr(import_module(read.module), read.kind), read.section)
        described.setdefault(f"{read.section} {read.is_table}", set()).add(rows)
    assert not [name for name, rows in described.items() if len(rows) > 1]


def test_the_command_line_knows_every_section() -> None:
    """The tables by which faults are found and strangers refused hold what is read, and nothing else."""
    for is_table, known in ((False, SECTIONS), (True, TABLES)):
        read = {(each.section, each.module, each.kind) for each in reads() if each.is_table is is_table}
        assert set(known) == {section for section, _, _ in read}
        assert {(section, *place) for section, place in known.items()} <= read


def test_settings_are_frozen_values() -> None:
    """Nobody changes a setting behind another's back."""
    loose = [kind.__name__ for kind in sections().values() if not _is_frozen(kind)]
    assert not loose


def _is_frozen(kind: type[Any]) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return bool(parameters and parameters.frozen) and "__slots__" in vars(kind)


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_blocks_are_what_they_say(language: str, text: str) -> None:
    """Every block of a document is sound: Python and TOML parse, shell is shell, and commands of ours exist."""
    match language:
        case "python":
            ast.parse(text)
        case "toml":
            tomllib.loads(text)
        case "json":
            __import__("json").loads(text)
        case "sh" | "bash" | "shell" | "console":
            _check_shell(text)
        case _:
            pass


def _check_shell(text: str) -> None:
    prompted = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    source = "\n".join(prompted) if prompted else text
    done = subprocess.run(["bash", "-n"], input=source, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in source.replace("\\\n", " ").splitlines():
        words = _words(line)
        if words[:1] == ["make"]:
            asked = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
            assert set(asked) <= MAKE_TARGETS, f"no such target: {line}"
        if words and words[0].rpartition("/")[2] == "parley" and len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in COMMANDS, f"no such command: {line}"


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []  # the middle of a quoted block: bash has read it whole
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def test_settings_that_documents_name_exist() -> None:
    """`[section] key` in a document's text is a setting, and so is every `PARLEY_SECTION_KEY` in it."""
    rows = [
        row
        for (section, is_table), kind in sections().items()
        for row in describe(kind, f"{section}.NAME" if is_table else section)
    ]
    known = {("section", "key"), *((row.section, row.key) for row in rows)}
    variables = {row.variable for row in rows} | {f"{row.variable}_FILE" for row in rows if row.secret}
    unknown = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        place = path.relative_to(ROOT)
        named = re.findall(r"`\[([a-z_]+)\] ([a-z_]+)\b", text)
        unknown += [f"{place}: [{section}] {key}" for section, key in named if (section, key) not in known]
        told = re.findall(r"\bPARLEY_[A-Z_]+[A-Z]\b", text)
        unknown += [
            f"{place}: {name}"
            for name in told
            if name not in variables and not name.startswith((*NOT_SETTINGS, "PARLEY_SECTION"))
        ]
    assert not unknown, "\n".join(unknown)


def test_documents_point_to_what_exists() -> None:
    """A path of ours that a document names is there."""
    missing = []
    for path in DOCUMENTS:
        if not path.exists():
            continue
        for name in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8")):
            if not (path.parent / name).exists():
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing
