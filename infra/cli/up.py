"""`parley up`: Kafka, Cassandra and every service on this machine, in one command."""

import argparse
import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from infra.cli.arguments import add_config, add_data, config_file, count, data_dir, port
from infra.cli.sections import check
from infra.cli.supervision.chosen import options_of
from infra.cli.supervision.deployments import ENGINES
from infra.cli.supervision.state import live_state
from infra.cli.supervision.supervisor import Supervisor, Up
from infra.local.child import MAX_LOG_BYTES
from infra.runtime.settings import SettingsSource

LAYOUTS: Final = ("dedicated", "lanes", "adaptive")
MOST: Final = 64
LOOK_EVERY_S: Final = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the contract."""
    add_data(parser)
    add_config(parser)
    parser.add_argument("--host", help="address of page, API and stream (default: the settings', else 127.0.0.1)")
    parser.add_argument("--port", type=port, help="of page and API (default: [gateway] port, else 8080)")
    parser.add_argument("--stream-port", type=port, help="of the WebSocket (default: [delivery] port, else 8081)")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="what answers (default: [inference] engine, else auto: torch if it is installed, else simulated)",
    )
    parser.add_argument("--workers", type=count(0, MOST), default=1, metavar="N", help="inference workers (default: 1)")
    parser.add_argument("--gateways", type=count(1, MOST), default=1, metavar="N", help="gateways that share --port")
    parser.add_argument(
        "--delivery", type=count(1, MOST), default=1, metavar="N", help="delivery nodes that share --stream-port"
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="where conversation logs lie (default: the settings')")
    parser.add_argument("--detach", action="store_true", help="return when it is up; end it with `parley down`")


def run(arguments: argparse.Namespace) -> int:
    """Run until Ctrl-C, or detach."""
    if arguments.detach:
        return _detach(arguments)
    config = config_file(arguments)
    source = SettingsSource(config)
    check(source)
    up = Up(
        data=data_dir(arguments),
        options=options_of(arguments, source, say),
        source=source,
        config=config,
        starts_kafka=not source.gives("kafka", "bootstrap"),
        starts_cassandra=not source.gives("cassandra", "contact_points"),
    )
    return asyncio.run(Supervisor(up, say).run())


def say(line: str) -> None:
    """Tell the person who started it, at once: standard output may be a file that somebody follows."""
    print(line, flush=True)


def _detach(arguments: argparse.Namespace) -> int:
    """Start the same command without `--detach` in a session of its own; show what it says until it is up."""
    data = data_dir(arguments)
    log = data / "log" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.unlink()
    with log.open("ab") as out:
        start = out.tell()
        command = [sys.executable, "-m", "infra.cli.main", *_without_detach()]
        child = subprocess.Popen(  # noqa: S603 - our own command again
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return _follow(child, data, log, start)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise


def _without_detach() -> list[str]:
    return [word for word in sys.argv[1:] if word != "--detach"]


def _follow(child: "subprocess.Popen[bytes]", data: Path, log: Path, start: int) -> int:
    with log.open("rb") as lines:
        lines.seek(start)
        while True:
            status = child.poll()
            state = live_state(data)
            is_up = state is not None and state.pid == child.pid and state.is_ready
            sys.stdout.write(lines.read().decode(errors="replace"))
            sys.stdout.flush()
            if status is not None:
                return status
            if is_up:
                # The announcement follows the state within the same breath of the other process.
                time.sleep(LOOK_EVERY_S)
                sys.stdout.write(lines.read().decode(errors="replace"))
                sys.stdout.flush()
                # Not ours to wait for any more.
                child.returncode = 0
                return 0
            time.sleep(LOOK_EVERY_S)
