"""`parley down`: end a running `up` and wait until all of it is gone."""

import argparse
import os
import signal
import sys
import time
from typing import Final

from infra.cli.arguments import add_data, data_dir
from infra.cli.supervision.state import owner_of
from schemas.errors import DependencyError

# Draining (25 s), then two brokers side by side (15 s), and room.
LIMIT_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--data`."""
    add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the supervisor to end, and return when nothing holds the directory any more; fine if nothing did."""
    data = data_dir(arguments)
    owner = owner_of(data)
    if owner is None:
        sys.stdout.write(f"nothing is running on {data}\n")
        return 0
    try:
        os.kill(owner, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it was killed, and what it started is just ending
    except PermissionError as error:
        raise DependencyError(f"process {owner} on {data} belongs to another user: ask them, or use sudo") from error
    give_up_at = time.monotonic() + LIMIT_S
    while owner_of(data) is not None:
        if time.monotonic() > give_up_at:
            raise DependencyError(f"process {owner} on {data} has not ended within {LIMIT_S:g} s: see {data}/log")
        time.sleep(LOOK_EVERY_S)
    sys.stdout.write(f"ended what ran on {data}\n")
    return 0
