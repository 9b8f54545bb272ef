"""Settings: one frozen dataclass a section, read once from flag > environment > file > default.

`[section] key` of the file is `PARLEY_SECTION_KEY` in the environment; for a secret `PARLEY_SECTION_KEY_FILE` may name
a file that holds it. All faults of a read are told together, one line each; unknown names are refused, not ignored.
"""

import dataclasses
import difflib
import inspect
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_type_hints

from infra.runtime.setting_values import Refused, converted, described
from schemas.errors import CallerError, SettingsError

T = TypeVar("T")

# Begin like settings and are none: caches, the key of `parley chat`, what tests are told.
NOT_SETTINGS: Final = ("PARLEY_CACHE_DIR", "PARLEY_CONFIG", "PARLEY_DATA", "PARLEY_KEY", "PARLEY_TEST_")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting as the documentation tells it."""

    section: str
    key: str
    variable: str
    kind: str
    default: str
    secret: bool
    doc: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as somebody gave it.

    Args:
        where: how a fault names its place.
        value: TOML's value, or text.
        is_text: True for text of the environment, a flag or a secret's file.
    """

    where: str
    value: Any
    is_text: bool


class SettingsSource:
    """Where settings come from; one a process.

    Args:
        file: a TOML file, None for none.
        environ: the environment; None takes the process's own.
        overrides: `section.key` to the text a flag gave.

    Raises:
        SettingsError: the file can't be read or isn't TOML.
    """

    def __init__(
        self,
        file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.file: Final = file
        self._environ: Final = dict(os.environ if environ is None else environ)
        self._overrides: Final = dict(overrides or {})
        self._tables: Final = _load(file)

    def read(self, kind: type[T], section: str) -> T:
        """The section as a value of `kind`.

        Raises:
            SettingsError: every fault of the section, one line each.
        """
        value, faults = self._section(kind, section)
        if faults or value is None:
            raise SettingsError("\n".join(faults))
        return value

    def read_table(self, kind: type[T], section: str) -> Mapping[str, T]:
        """The tables `[section.NAME]` by name; in the environment `PARLEY_SECTION_NAME_KEY`, `_` standing for `-`."""
        values, faults = self._named(kind, section)
        if faults:
            raise SettingsError("\n".join(faults))
        return values

    def filled(self, values: Mapping[str, str]) -> "SettingsSource":
        """The same source, with `section.key` texts as if given by flags; flags that were given stay."""
        return SettingsSource(self.file, self._environ, {**values, **self._overrides})

    def gives(self, section: str, key: str) -> bool:
        """True when anybody set that key: it isn't the default."""
        table = self._tables.get(section)
        variable = f"{_variable(section)}_{key.upper()}"
        return (
            f"{section}.{key}" in self._overrides
            or (isinstance(table, dict) and key in table)
            or variable in self._environ
            or f"{variable}_FILE" in self._environ
        )

    def check(self, kinds: Mapping[str, type[Any]], tables: Mapping[str, type[Any]]) -> None:
        """Raise one SettingsError with every fault of these sections and every name that belongs to none of them.

        A value that is required and missing is no fault here: who starts a service may add it.
        """
        faults: list[str] = []
        for section, kind in kinds.items():
            faults += self._section(kind, section, is_partial=True)[1]
        for section, kind in tables.items():
            faults += self._named(kind, section, is_partial=True)[1]
        faults += self._unknown_sections({*kinds, *tables})
        if faults:
            raise SettingsError("\n".join(faults))

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Raise one SettingsError that tells every section and variable of no known section."""
        faults = self._unknown_sections(set(known))
        if faults:
            raise SettingsError("\n".join(faults))

    def _section(self, kind: type[T], section: str, *, is_partial: bool = False) -> tuple[T | None, list[str]]:
        faults: list[str] = []
        table = self._tables.get(section, {})
        if not isinstance(table, dict):
            return None, [f"{self.file}: {section} must be a section, [{section}]"]
        prefix = _variable(section)
        flags = {key.partition(".")[2]: text for key, text in self._overrides.items() if key.startswith(f"{section}.")}
        given = self._gather(kind, section, table, prefix, flags, faults)
        return _built(kind, section, given, faults, is_partial=is_partial), faults

    def _named(self, kind: type[T], section: str, *, is_partial: bool = False) -> tuple[dict[str, T], list[str]]:
        faults: list[str] = []
        table = self._tables.get(section, {})
        values: dict[str, T] = {}
        if not isinstance(table, dict):
            return values, [f"{self.file}: {section} must hold tables, [{section}.NAME]"]
        names = {name: body for name, body in table.items() if isinstance(body, dict)}
        faults += [
            f"{self.file} [{section}] {key}: unknown; here stand tables, [{section}.NAME]"
            for key in table.keys() - names
        ]
        for variable in self._variables(section):
            name = _name_in(variable, _variable(section), kind, faults)
            if name is not None and name not in names:
                names[name] = {}
        for name, body in names.items():
            place = f"{section}.{name}"
            given = self._gather(kind, place, body, _variable(place), {}, faults)
            value = _built(kind, place, given, faults, is_partial=is_partial)
            if value is not None:
                values[name] = value
        return values, faults

    def _gather(
        self,
        kind: type[Any],
        section: str,
        table: Mapping[str, Any],
        prefix: str,
        flags: Mapping[str, str],
        faults: list[str],
    ) -> dict[str, _Given]:
        fields = {each.name: each for each in dataclasses.fields(kind)}
        given = {key: _Given(f"{self.file} [{section}] {key}", value, is_text=False) for key, value in table.items()}
        faults += [f"{one.where}: unknown{_nearest(key, fields)}" for key, one in given.items() if key not in fields]
        for key, one in fields.items():
            text = self._from_environment(
                f"{prefix}_{key.upper()}", is_secret=bool(one.metadata.get("secret")), faults=faults
            )
            if text is not None:
                given[key] = text
        if "." not in section:
            known = {f"{prefix}_{key.upper()}": key for key in fields}
            known |= {f"{prefix}_{key.upper()}_FILE": key for key, one in fields.items() if one.metadata.get("secret")}
            faults += [
                f"{name}: unknown{_nearest(name, known)}" for name in self._variables(section) if name not in known
            ]
        for key, value in flags.items():
            if key in fields:
                given[key] = _Given(f"--{key.replace('_', '-')}", value, is_text=True)
            else:
                faults.append(f"{section}.{key}: unknown{_nearest(key, fields)}")
        return {key: one for key, one in given.items() if key in fields}

    def _from_environment(self, variable: str, *, is_secret: bool, faults: list[str]) -> _Given | None:
        text = self._environ.get(variable)
        path = self._environ.get(f"{variable}_FILE") if is_secret else None
        if path is None:
            return None if text is None else _Given(variable, text, is_text=True)
        if text is not None:
            faults.append(f"{variable}: given twice, also as {variable}_FILE")
            return None
        try:
            return _Given(f"{variable}_FILE", Path(path).read_text(encoding="utf-8").strip("\r\n"), is_text=True)
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{variable}_FILE: {path} can't be read: {getattr(error, 'strerror', None) or 'not UTF-8'}")
            return None

    def _variables(self, section: str) -> Iterator[str]:
        prefix = f"{_variable(section)}_"
        return (name for name in sorted(self._environ) if name.startswith(prefix) and not name.startswith(NOT_SETTINGS))

    def _unknown_sections(self, known: set[str]) -> list[str]:
        faults = [
            f"{self.file} [{section}]: unknown{_nearest(section, known)}" for section in self._tables.keys() - known
        ]
        prefixes = tuple(f"{_variable(section)}_" for section in known)
        for name in sorted(self._environ):
            if name.startswith("PARLEY_") and not name.startswith(prefixes) and not name.startswith(NOT_SETTINGS):
                faults.append(f"{name}: unknown{_nearest(name, [prefix + '…' for prefix in prefixes])}")
        return faults


def describe(kind: type[Any], section: str) -> tuple[SettingRow, ...]:
    """Every setting of a section, for `docs/settings.md` and its test.

    A meaning stands in the field's metadata (`doc`) or under `Args:` in the class's docstring.
    """
    hints = get_type_hints(kind)
    told = _told(kind)
    return tuple(
        SettingRow(
            section=section,
            key=one.name,
            variable=f"{_variable(section)}_{one.name.upper()}",
            kind=described(hints[one.name]),
            default=_default_text(one),
            secret=bool(one.metadata.get("secret")),
            doc=str(one.metadata.get("doc") or told.get(one.name, "")),
        )
        for one in dataclasses.fields(kind)
    )


def _told(kind: type[Any]) -> dict[str, str]:
    """What the docstring says of each name under `Args:`, continuation lines joined."""
    told: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:\n")[2].splitlines():
        found = re.match(r" {4}(\w+): (.*)", line)
        if found:
            name = found[1]
            told[name] = found[2]
        elif not line.startswith("     "):
            break
        elif name:
            told[name] += " " + line.strip()
    return told


def _load(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error


def _built(
    kind: type[T], section: str, given: Mapping[str, _Given], faults: list[str], *, is_partial: bool
) -> T | None:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    before = len(faults)
    missing = False
    for one in dataclasses.fields(cast("Any", kind)):
        if one.name not in given:
            if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
                missing = True
                if not is_partial:
                    variable = f"{_variable(section)}_{one.name.upper()}"
                    faults.append(f"[{section}] {one.name}: required; set it there or as {variable}")
            continue
        place = given[one.name]
        try:
            values[one.name] = converted(hints[one.name], place.value, is_text=place.is_text)
        except Refused as refused:
            # A secret's text never reaches a log or a terminal.
            what = "is refused" if one.metadata.get("secret") else str(refused)
            faults.append(f"{place.where}: {what}")
    if missing or len(faults) > before:
        return None
    make = cast("Callable[..., T]", kind)
    try:
        return make(**values)
    except (CallerError, ValueError) as error:
        faults += [f"[{section}] {line}" for line in str(error).splitlines()]
        return None


def _variable(section: str) -> str:
    return "PARLEY_" + section.upper().replace(".", "_").replace("-", "_")


def _name_in(variable: str, prefix: str, kind: type[Any], faults: list[str]) -> str | None:
    rest = variable.removeprefix(f"{prefix}_")
    for one in dataclasses.fields(kind):
        for ending in (f"_{one.name.upper()}", f"_{one.name.upper()}_FILE"):
            if rest.endswith(ending) and rest != ending:
                return rest.removesuffix(ending).lower().replace("_", "-")
    faults.append(f"{variable}: unknown; it must be {prefix}_NAME_KEY")
    return None


def _nearest(name: str, known: Mapping[str, Any] | set[str] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _default_text(one: "dataclasses.Field[Any]") -> str:
    if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
        return "required"
    default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
    if default is None or default in ((), ""):
        return "none"
    return (
        ", ".join(map(str, default))
        if isinstance(default, tuple)
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )
