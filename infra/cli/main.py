"""The `parley` command: one module a subcommand, loaded when it is asked for; errors in one line, never a traceback."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NoReturn

from schemas.errors import CallerError, ParleyError

FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One row of `parley --help`.

    Args:
        module: has `add_arguments(parser)` and `run(arguments) -> exit status`.
        help: one line.
    """

    module: str
    help: str


COMMANDS: Final[Mapping[str, Subcommand]] = {
    "up": Subcommand("infra.cli.up", "start Kafka, Cassandra and every service on this machine"),
    "down": Subcommand("infra.cli.down", "end a running `up`"),
    "ps": Subcommand("infra.cli.ps", "list the processes of a running `up`"),
    "chat": Subcommand("infra.cli.chat", "chat in this terminal"),
    "run": Subcommand("infra.cli.run", "run one service in the foreground, as a container does"),
    "key": Subcommand("infra.cli.key", "create, list and revoke API keys"),
    "policy": Subcommand("infra.cli.policy", "list and push safety policies"),
    "models": Subcommand("infra.cli.models", "list what the pools serve"),
    "topics": Subcommand("infra.cli.topics", "list the topics and create those that are missing"),
    "schemas": Subcommand("infra.cli.schemas_export", "write the JSON Schemas of all records and frames"),
}


class _Parser(argparse.ArgumentParser):
    """argparse prints its usage before an error; here the error is the one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(WRONG)


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        only: fill in the arguments of this subcommand alone, so that the others' modules aren't loaded; None fills all.
    """
    root = _Parser(prog="parley", description="A chat-LLM serving pipeline on Kafka.", allow_abbrev=False)
    root.add_argument("--version", action="version", version=f"parley {_version()}")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=_sentence(command.help), allow_abbrev=False)
        if only in {None, name}:
            import_module(command.module).add_arguments(sub)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status: 0, 1 it failed, 2 it was asked wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    named = next((word for word in given if not word.startswith("-")), None)
    parsed = parser(only=named if named in COMMANDS else None).parse_args(given)
    # Libraries' warnings are no part of a command's answer; a service sets its own logs up.
    logging.getLogger().addHandler(logging.NullHandler())
    run: Callable[[argparse.Namespace], int] = import_module(COMMANDS[parsed.command].module).run
    try:
        return run(parsed)
    except CallerError as error:
        for line in str(error).splitlines():
            print(f"parley: {line}", file=sys.stderr)
        return WRONG
    except ParleyError as error:
        print(f"parley: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `parley ps | head`: who read has gone; Python would complain once more while it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        # A full or read-only disk, a right that is missing: the system's own words and the place say it all.
        place = f": {error.filename}" if error.filename else ""
        print(f"parley: {error.strerror or error}{place}", file=sys.stderr)
        return FAILED


def _version() -> str:
    try:
        return version("parley")
    except PackageNotFoundError:
        return "unknown"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    sys.exit(main())
