"""`parley ps`: the processes of a running `up`."""

import argparse
import json
import sys
from dataclasses import asdict

from infra.cli.arguments import add_data, data_dir
from infra.cli.supervision.state import Process, live_state
from infra.cli.table import render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--data`, `--json`."""
    add_data(parser)
    parser.add_argument("--json", action="store_true", help="a list of objects: name, role, pid, ports, state")


def run(arguments: argparse.Namespace) -> int:
    """Print the list; it is empty when nothing runs."""
    data = data_dir(arguments)
    state = live_state(data)
    processes = state.processes if state is not None else ()
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(process) for process in processes], indent=2) + "\n")
    elif not processes:
        sys.stdout.write(f"nothing is running on {data}\n")
    else:
        sys.stdout.write(render(("NAME", "ROLE", "PID", "PORTS", "STATE"), [_row(process) for process in processes]))
    return 0


def _row(process: Process) -> tuple[str, ...]:
    ports = " ".join(f"{name}={number}" for name, number in process.ports.items())
    return (process.name, process.role, str(process.pid or "-"), ports, process.state.value)
