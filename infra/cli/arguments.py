"""What several subcommands ask for: the data directory, the settings' file, and how they find a running `up`."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.cli.sections import refuse_unknown
from infra.cli.supervision.state import State, live_state
from infra.local.places import default_data_dir
from infra.runtime.settings import SettingsSource
from schemas import ids
from schemas.errors import ContractError, SettingsError

LARGEST_PORT: Final = 65535
# What says where a part is: who sets it means another than the one that runs here.
PLACES: Final = {"kafka": "bootstrap", "cassandra": "contact_points", "internal": "token"}


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data DIR`."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="directory of the running `up` (default: PARLEY_DATA, else one directory per user)",
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config FILE`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML (default: PARLEY_CONFIG)")


def data_dir(arguments: argparse.Namespace) -> Path:
    """Return the data directory that was named, or the user's."""
    named = arguments.data or os.environ.get("PARLEY_DATA")
    return Path(named).expanduser().absolute() if named else default_data_dir()


def config_file(arguments: argparse.Namespace) -> Path | None:
    """Return the settings' file that was named, absolute."""
    named = arguments.config or os.environ.get("PARLEY_CONFIG")
    return Path(named).expanduser().absolute() if named else None


def source(arguments: argparse.Namespace, *, needs: tuple[str, ...] = ("kafka",)) -> SettingsSource:
    """Return the settings of this machine; where Kafka and Cassandra aren't configured, those of the running `up`.

    Args:
        needs: sections without which the command can do nothing.

    Raises:
        SettingsError: one of them is neither configured nor running.
    """
    data = data_dir(arguments)
    state = live_state(data)
    file = config_file(arguments) or (Path(state.config) if state is not None and state.config else None)
    own = SettingsSource(file)
    refuse_unknown(own)
    overrides = {key: text for key, text in _of_state(state).items() if not _is_given(own, key)}
    for section in needs:
        if not own.gives(section, PLACES[section]) and f"{section}.{PLACES[section]}" not in overrides:
            raise SettingsError(
                f"nothing is running on {data}: start it with `parley up`, name its directory by --data, "
                f"or configure [{section}]"
            )
    return own.filled(overrides)


def running(arguments: argparse.Namespace) -> State:
    """Return the state of the running `up`.

    Raises:
        SettingsError: none runs on that directory.
    """
    data = data_dir(arguments)
    state = live_state(data)
    if state is None:
        raise SettingsError(f"nothing is running on {data}: start it with `parley up`, or name its directory by --data")
    return state


def _is_given(own: SettingsSource, name: str) -> bool:
    """True where this machine's settings name another place, or where the setting says something else than a place."""
    section, _, key = name.partition(".")
    is_place = key in (PLACES[section], "port")
    return own.gives(section, PLACES[section]) or (not is_place and own.gives(section, key))


def _of_state(state: State | None) -> dict[str, str]:
    return dict(state.settings) if state is not None else {}


def port(text: str) -> int:
    """Argparse's type of a TCP port."""
    if not text.isdigit() or not 0 < int(text) <= LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to {LARGEST_PORT}")
    return int(text)


def count(least: int, most: int) -> Callable[[str], int]:
    """Argparse's type of a number of processes."""

    def checked(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} must be a number from {least} to {most}")
        return int(text)

    return checked


def name(text: str) -> str:
    """Argparse's type of a name of a tenant, tier, pool or policy."""
    try:
        return ids.parse_name(text)
    except ContractError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
