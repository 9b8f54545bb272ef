"""`parley run ROLE`: one service in the foreground, through its `main.py`."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from infra.cli.arguments import add_config, add_data, source
from infra.runtime.service import run_service


@dataclass(frozen=True, slots=True)
class Role:
    """Where a role's coroutine is. `with_uvloop`: False where the library brings its own loop."""

    module: str
    function: str
    with_uvloop: bool = True


ROLES: Final[Mapping[str, Role]] = {
    "gateway": Role("producers.main", "run"),
    "moderation": Role("stream_processors.main", "run_moderation"),
    "enrichment": Role("stream_processors.main", "run_enrichment"),
    "persistence": Role("stream_processors.main", "run_persistence"),
    "inference": Role("inference_consumers.main", "run"),
    "delivery": Role("delivery.main", "run"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The role, and where settings come from."""
    parser.add_argument("role", choices=list(ROLES), metavar="ROLE", help=", ".join(ROLES))
    add_data(parser)
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run it until SIGTERM or Ctrl-C; a second one ends it at once."""
    settings = source(arguments)
    role = ROLES[arguments.role]
    return run_service(
        getattr(import_module(role.module), role.function), settings, arguments.role, with_uvloop=role.with_uvloop
    )
