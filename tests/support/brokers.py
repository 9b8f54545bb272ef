"""Real Kafka and Cassandra for tests: one of each a session, or those in `PARLEY_TEST_KAFKA`, `PARLEY_TEST_CASSANDRA`.

They run in a thread with a loop of its own, so that the loops of single tests don't matter, and are tied to it:
when pytest is killed, they are too.
"""

import asyncio
import os
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from infra.local.node import LocalNode, local_cassandra, local_kafka

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread; `run` works on it from any other thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-brokers", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def broker_loop() -> Iterator[LoopThread]:
    """The thread that the session's brokers are tied to."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="session")
def kafka(broker_loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real Kafka, shared by the session: keep to your `topic_prefix`."""
    yield from _address("PARLEY_TEST_KAFKA", local_kafka, broker_loop, tmp_path_factory)


@pytest.fixture(scope="session")
def cassandra(broker_loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Host and CQL port of a real Cassandra, shared by the session: keep to your `keyspace`."""
    for address in _address("PARLEY_TEST_CASSANDRA", local_cassandra, broker_loop, tmp_path_factory):
        host, _, port = address.rpartition(":")
        yield host, int(port)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topics and groups that no other test uses."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture
def keyspace() -> str:
    """The name of a keyspace that no other test uses; making it is the test's own act."""
    return f"t{uuid.uuid4().hex[:10]}"


def _address(
    variable: str, make: Callable[[Path], LocalNode], thread: LoopThread, places: pytest.TempPathFactory
) -> Iterator[str]:
    named = os.environ.get(variable)
    if named:
        yield named
        return
    node = make(places.mktemp(variable.rpartition("_")[2].lower()))
    address = thread.run(node.start())
    try:
        yield address
    finally:
        # The data goes with the session: nothing is lost by not waiting for a clean end.
        thread.run(node.stop(limit_s=0))
