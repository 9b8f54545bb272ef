"""The whole of `parley up` on this machine: one command, and all of it ends with it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from infra.cli.supervision.secret_file import read_secret
from infra.local.resources import free_port

pytestmark = pytest.mark.timeout(600)


class Machine:
    """A user's machine: a data directory, ports, and the `parley` command."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port(9200)
        self.stream_port = free_port(9300)
        settings = ("PARLEY_KAFKA", "PARLEY_CASSANDRA", "PARLEY_CONFIG", "PARLEY_DATA", "PARLEY_KEY")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(settings)}

    def parley(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command line to its end."""
        command = [sys.executable, "-m", "infra.cli.main", *words, "--data", str(self.data)]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=200, env=self.environment
        )

    def up(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """`parley up --detach` on the simulated engine."""
        ports = ("--port", str(self.port), "--stream-port", str(self.stream_port))
        return self.parley("up", "--detach", "--engine", "simulated", *ports, *words)

    def ps(self) -> list[dict[str, Any]]:
        """`parley ps --json`."""
        rows: list[dict[str, Any]] = json.loads(self.parley("ps", "--json").stdout)
        return rows


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which nothing runs on afterwards."""
    made = Machine(tmp_path / "data")
    yield made
    made.parley("down")


def test_one_command_answers_and_keeps_what_it_accepted(machine: Machine) -> None:
    """Up, a message answered, all roles listed, down: nothing runs on; up again: the conversation is there."""
    done = machine.up("--gateways", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Parley is up: a message can be sent." in done.stdout
    assert f"http://127.0.0.1:{machine.port}/v1" in done.stdout
    rows = machine.ps()
    roles = {row["role"] for row in rows}
    assert roles == {
        *("gateway", "moderation", "enrichment", "persistence", "inference", "delivery", "kafka", "cassandra"),
    }
    assert {row["state"] for row in rows} == {"ready"}
    assert all(set(row) == {"name", "role", "pid", "ports", "state"} for row in rows)
    by_role = {row["role"]: row["ports"] for row in rows}
    assert set(by_role["gateway"]) == {"http", "metrics"}
    assert set(by_role["delivery"]) == {"stream", "metrics"}
    assert set(by_role["kafka"]) == {"client"}
    assert set(by_role["cassandra"]) == {"cql"}
    answered = machine.parley("chat", text="echo: hello there\n")
    assert answered.stdout == "hello there\n", answered.stderr
    key = read_secret(machine.data / "key")
    down = machine.parley("down")
    assert down.returncode == 0, down.stderr
    assert not any(psutil.pid_exists(row["pid"]) for row in rows)
    assert machine.ps() == []
    assert machine.up().returncode == 0
    assert read_secret(machine.data / "key") == key
    again = machine.parley("chat", text="tokens: 3\n")
    assert again.stdout == "w0 w1 w2\n", again.stderr


async def test_a_prefix_alone_still_starts_brokers(machine: Machine) -> None:
    """A setting of [kafka] that names no broker: `up` starts its own, and every topic and group bears the prefix."""
    machine.environment["PARLEY_KAFKA_TOPIC_PREFIX"] = "x-"
    done = machine.up()
    assert done.returncode == 0, done.stdout + done.stderr
    answered = machine.parley("chat", text="echo: prefixed\n")
    assert answered.stdout == "prefixed\n", answered.stderr
    [port] = [row["ports"]["client"] for row in machine.ps() if row["role"] == "kafka"]
    topics, groups = await names_at(f"127.0.0.1:{port}")
    assert {"x-chat.requests", "x-chat.turns"} <= topics
    assert not {each for each in topics if not each.startswith(("x-", "__"))}
    assert {f"x-parley-{role}" for role in ("moderation", "enrichment", "persistence", "inference-default")} <= groups
    assert not {each for each in groups if not each.startswith("x-")}
    del machine.environment["PARLEY_KAFKA_TOPIC_PREFIX"]
    listed = machine.parley("key", "list")
    assert "made by parley up" in listed.stdout, listed.stdout + listed.stderr


async def names_at(bootstrap: str) -> tuple[set[str], set[str]]:
    """Every topic and every group of a broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return set(await admin.list_topics()), {name for name, _ in await admin.list_consumer_groups()}
    finally:
        await admin.close()


def test_a_killed_supervisor_leaves_nothing_and_the_next_up_works(machine: Machine) -> None:
    """SIGKILL of `up` ends every process it started; the data is free and whole."""
    first = machine.up()
    assert first.returncode == 0, first.stdout + first.stderr
    rows = machine.ps()
    state = json.loads((machine.data / "state.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    gone, alive = psutil.wait_procs([psutil.Process(row["pid"]) for row in rows if psutil.pid_exists(row["pid"])], 10)
    assert not alive, gone
    assert machine.ps() == []
    second = machine.up()
    assert second.returncode == 0, second.stdout + second.stderr
    assert machine.parley("chat", text="echo: still here\n").stdout == "still here\n"


def test_a_taken_port_ends_a_detached_up_with_its_line(machine: Machine) -> None:
    """`--detach` hands the error and the status through."""
    with socket.create_server(("127.0.0.1", machine.port)):
        done = machine.up()
    assert done.returncode == 2
    assert f"parley: port {machine.port} for the page is taken" in done.stdout + done.stderr
    assert machine.ps() == []
