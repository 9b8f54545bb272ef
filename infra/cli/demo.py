"""`make demo`: the whole pipeline on its defaults, one real answer, and that turn in log, bill and store."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from infra.cli.chat import Api
from infra.cli.supervision.secret_file import read_secret
from infra.cli.supervision.state import State, live_state
from infra.local.resources import free_port
from infra.runtime.cassandra import Store
from infra.runtime.cassandra_settings import CassandraSettings
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.settings import SettingsSource
from infra.runtime.turn_store import TurnStore
from schemas import codec, topics
from schemas.errors import DependencyError, ParleyError
from schemas.ids import TurnId
from schemas.records import TurnCompleted, UsageRecorded

QUESTION: Final = "What is the capital of France? Answer in one sentence."
# The usage record follows the end by one append, the row by one batch of persistence.
FIRST_PORT: Final = 18080
PATIENCE_S: Final = 20.0
LOOK_EVERY_S: Final = 0.1


def main() -> int:
    """Run it; 0 when the turn stood in all three places."""
    begun = time.monotonic()
    # Two programs write here, this one and `parley`: whole lines, in their order, also into a file.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        with tempfile.TemporaryDirectory(prefix="parley-demo-") as folder, _running(Path(folder) / "data") as state:
            print(f"ready after {time.monotonic() - begun:.0f} s, {_resident_mb(state):.0f} MB resident\n")
            turn = _ask(Api(state.base_url, read_secret(Path(state.key_file))))
            asyncio.run(_show(state, turn))
    except ParleyError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\nstopped; {time.monotonic() - begun:.0f} s in all")
    return 0


@contextmanager
def _running(data: Path) -> Iterator[State]:
    """`parley up` on free ports, so that one that runs already is not in the way; `down` whatever happens."""
    port = free_port(FIRST_PORT)
    ports = ("--port", str(port), "--stream-port", str(free_port(FIRST_PORT, frozenset({port}))))
    if _parley("up", "--detach", "--data", str(data), *ports) != 0:
        raise DependencyError("the pipeline did not come up: its last lines above say why")
    try:
        state = live_state(data)
        if state is None:
            raise DependencyError("the pipeline ended right after it came up")
        yield state
    finally:
        _parley("down", "--data", str(data))


def _parley(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "infra.cli.main", *arguments], check=False).returncode  # noqa: S603 - ours


def _resident_mb(state: State) -> float:
    """All processes together. Source: proc(5), /proc/PID/status."""
    total_kb = 0
    for process in state.processes:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        total_kb += next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return total_kb / 1024


def _ask(api: Api) -> TurnId:
    """Stream one answer to the terminal."""
    model = api.first_model()
    print(f"[{model}] {QUESTION}\n> ", end="", flush=True)
    begun, first_s, turn = time.monotonic(), None, ""
    request = {"model": model, "input": QUESTION, "stream": True, "max_output_tokens": 64}
    for event in api.events("/responses", request):
        if event["type"] == "response.created":
            turn = event["response"]["id"]
        elif event["type"] == "response.output_text.delta":
            first_s = first_s or time.monotonic() - begun
            print(event["delta"], end="", flush=True)
    if first_s is None:
        raise DependencyError("the answer held no text")
    print(f"\n(first token after {first_s * 1000:.0f} ms, done after {time.monotonic() - begun:.1f} s)")
    return TurnId(turn)


async def _show(state: State, turn: TurnId) -> None:
    """The same turn in `chat.usage`, in the store, and in the conversation's log."""
    source = SettingsSource(overrides=state.settings)
    usage = await _usage(source.read(KafkaSettings, "kafka"), turn)
    print(f"\nbill, from Kafka's {topics.USAGE}:\n  {codec.encode(usage).decode()}")
    row = await _row(source.read(CassandraSettings, "cassandra"), turn)
    print(f"\nrow, from Cassandra's turns:\n  {row.turn} n={row.n} reason={row.reason.value} text={row.output_text!r}")
    print(f"\nits log: {row.log.topic} up to offset {row.log_end}")
    if usage.delivered_tokens != row.delivered_tokens:
        raise DependencyError(f"bill and row differ: {usage.delivered_tokens} and {row.delivered_tokens} tokens")


async def _usage(settings: KafkaSettings, turn: TurnId) -> UsageRecorded:
    reader = LogReader(settings, "demo")
    await reader.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for partition in await reader.partitions(topics.USAGE):
                    for entry in await reader.read_all(topics.USAGE, partition, 0):
                        record = codec.decode(entry.value) if entry.value else None
                        if isinstance(record, UsageRecorded) and record.turn == turn:
                            return record
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise DependencyError(f"no usage record of {turn} within {PATIENCE_S:.0f} s") from None
    finally:
        await reader.stop()


async def _row(settings: CassandraSettings, turn: TurnId) -> TurnCompleted:
    store = Store(settings)
    await store.start()
    try:
        await store.connected(PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                row = await TurnStore(store).turn(turn)
                if row is not None:
                    return row
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise DependencyError(f"no row of {turn} within {PATIENCE_S:.0f} s") from None
    finally:
        await store.stop()


if __name__ == "__main__":
    sys.exit(main())
