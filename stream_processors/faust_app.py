"""Faust as our processors run it: inside our own service and loop, at-least-once, acknowledging only what is finished.

Every deviation from its defaults is a rule that its source or a run has taught (DESIGN.md, "Rules for Faust").
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from infra.runtime.kafka_settings import KafkaSettings
from schemas.errors import KafkaUnavailable

# 0.5 s: the answer to a heartbeat tells of a rebalance, so this is how fast one is.
_HEARTBEAT_S: Final = 0.5
# One event's longest time, not a batch's: while Kafka is away an append is tried again for as long as it takes.
_MAX_POLL_INTERVAL_S: Final = 3600.0
_START_S: Final = 60.0
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 10.0

log = logging.getLogger(__name__)


class _Daemon(driver.AIOKafkaConsumerThread.Worker):  # type: ignore[misc]
    """A thread that keeps no process alive: one cut off in its drain would never end otherwise."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.daemon = True


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    Worker = _Daemon


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, committing nothing but what is said to be finished.

    Faust acknowledges events that it never handed out (those of an older generation, and what arrives while a rebalance
    stops the flow), those of an agent that raised, and a whole `take` when its agent is cancelled. Each of these moves
    the committed offset over records that nobody has processed.
    """

    logger = logging.getLogger("faust.consumer")

    is_abandoned = False

    async def wait_empty(self) -> None:
        """Wait until all that was handed out is finished, unless nobody is left who would."""
        if self.is_abandoned:
            self._unacked_messages.clear()
        await super().wait_empty()

    def abandon(self) -> None:
        """Let a wait that has begun, and any other, end."""
        self.is_abandoned = True
        self._unacked_messages.clear()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go back to what is committed, and to the beginning where nothing is.

        Faust drops what it has fetched when a rebalance stops its flow, and comes back for it by this call. aiokafka
        stays where it is in a partition without a commit: its first records would never be handed out.
        """
        committed: Mapping[TP, int] = await super().seek_to_committed()
        # A table's changelog has no commits: its recovery knows its places. A log that begins behind 0 is read from its
        # beginning; asking for that place would wait behind the fetch under way, 1.5 s at each rebalance.
        bare = [tp for tp, offset in committed.items() if not offset and self.app.topics.acks_enabled_for(tp.topic)]
        await self._thread.seek_wait(dict.fromkeys(bare, 0))
        return committed

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def ack(self, message: Any) -> bool:
        """Faust is done with the message: it holds up no rebalance any more. Nothing is committed for it."""
        self._unacked_messages.discard(message)
        return False

    def finish(self, message: Any) -> None:
        """All that follows from the message is acknowledged by the brokers: it may be committed.

        To be called in the order of offsets: Faust's commit may jump over one message that is left out.
        """
        super().ack(message)


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = Consumer


class App(faust.App):  # type: ignore[misc]
    """A Faust app on our transport."""

    logger = logging.getLogger("faust.app")

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def finish(self, event: Any) -> None:
        """All that follows from the event is acknowledged: it may be committed. In the order of offsets."""
        self.consumer.finish(event.message)

    def abandon(self) -> None:
        """Let a stop wait for nobody."""
        if self._consumer is not None:
            self._consumer.abandon()


def make_app(
    kafka: KafkaSettings,
    group: str,
    *,
    commit_interval_s: float,
    session_timeout_s: float,
    buffered: int,
    datadir: Path,
    kind: type[App] = App,
    **options: Any,
) -> App:
    """An app of that group, with the rules in force.

    Args:
        group: without the prefix.
        commit_interval_s: how much is processed again after a crash; a commit costs the broker one request.
        session_timeout_s: how long a member that died without a word is waited for; one that stops leaves at once.
        buffered: events that wait in memory for the agent.
        datadir: a directory that exists; for apps with tables one that lasts.
        kind: our app, or one that differs from it further.
        options: more of Faust's settings.
    """
    for noisy in ("faust", "mode"):
        # Its course from state to state; what goes wrong is a warning or worse.
        logging.getLogger(noisy).setLevel(logging.WARNING)
    context = kafka.client_options("")["ssl_context"]
    return kind(
        kafka.named(group),
        broker=[f"kafka://{each.strip()}" for each in kafka.bootstrap.split(",")],
        broker_client_id=group,
        broker_credentials=_credentials(kafka, context),
        # Its exactly_once picks the transaction by the destination and shows output only at its commit tick.
        processing_guarantee="at_least_once",
        broker_commit_interval=commit_interval_s,
        # By time alone: a full batch would commit in the middle of its successor's appends.
        broker_commit_every=100_000,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=_HEARTBEAT_S,
        broker_max_poll_interval=_MAX_POLL_INTERVAL_S,
        # aiokafka refuses a session that outlasts its requests.
        broker_request_timeout=max(kafka.request_timeout_s, session_timeout_s + 1),
        # A group that has never committed begins with what was accepted before it existed.
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=30_000,
        stream_buffer_maxsize=buffered,
        stream_wait_empty=True,
        # Topics exist before start, made by the table in `schemas.topics`, and keys are raw bytes.
        topic_allow_declare=False,
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",
        # Its web server shows tables to anybody; health and metrics are our service's.
        web_enabled=False,
        datadir=str(datadir),
        autodiscover=False,
        table_standby_replicas=options.pop("table_standby_replicas", 0),
        **options,
    )


def _credentials(kafka: KafkaSettings, context: Any) -> Any:
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


async def started(app: App) -> None:
    """The app is up and joins its group. Raises what Faust raises, KafkaUnavailable when it takes over a minute."""
    starting = asyncio.ensure_future(app.start())
    crashed = asyncio.ensure_future(app.wait_until_stopped())
    try:
        done, _ = await asyncio.wait({starting, crashed}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        crashed.cancel()
        if not starting.done():
            starting.cancel()
    if starting in done:
        starting.result()
    elif app.crash_reason is not None:
        raise app.crash_reason
    else:
        raise KafkaUnavailable(f"{app.conf.id} could not join its group within {_START_S:g} s")


class FaustRunner:
    """Runs an app on the running loop, in place of Faust's own worker and its signals.

    Faust crashes as a whole of a single failed commit, so a crash is no end here: another app is made and takes over.

    Args:
        make: a new app with its agents declared, given a directory of its own.
        lasting: that directory, for apps with tables; None makes one for each app.
    """

    def __init__(self, make: Callable[[Path], App], lasting: Path | None = None) -> None:
        self._make = make
        self._lasting = lasting
        self._app: App | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def is_running(self) -> bool:
        """True while the app is up: it takes events as soon as it owns partitions."""
        app = self._app
        return app is not None and bool(app.started) and not app.should_stop

    async def start(self) -> None:
        """The app is up and joins its group. Raises what Faust raises, KafkaUnavailable when it takes over a minute."""
        if self._lasting is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="parley-faust-")
        app = self._app = self._make(self._lasting or Path(self._scratch.name if self._scratch else ""))
        await started(app)

    async def watch(self) -> None:
        """Keep an app running until cancelled: one that has crashed is replaced, with backoff."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                if self._app is None:
                    await self.start()
                    backoff_s = _FIRST_BACKOFF_S
                await self._until_crashed()
            except Exception as error:  # noqa: BLE001 - whatever Faust crashed of, the next app begins at the commit
                log.warning("Faust has crashed: %s; starting it again in %g s", error, backoff_s)
            await self.stop(is_abandoning=True)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def _until_crashed(self) -> None:
        app = self._app
        if app is not None:
            await app.wait_until_stopped()
            raise app.crash_reason or KafkaUnavailable("Faust has stopped by itself")

    async def stop(self, *, is_abandoning: bool = False) -> None:
        """Take nothing new, wait for what was handed out to be finished, commit it and leave the group. Idempotent.

        Args:
            is_abandoning: don't wait: nobody is left who would finish anything.
        """
        app = self._app
        if app is not None:
            if is_abandoning:
                app.abandon()
            await app.stop()
            self._app = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def assignment(self) -> Sequence[TP]:
        """The partitions that this process owns now."""
        return sorted(self._app.consumer.assignment()) if self._app is not None and self.is_running else ()

    def committed_and_end(self, partition: TP) -> tuple[int, int] | None:
        """The committed offset and the partition's end; None as long as they aren't known."""
        if self._app is None:
            return None
        consumer = self._app.consumer
        committed, end = consumer._committed_offset.get(partition), consumer.highwater(partition)  # noqa: SLF001
        return None if committed is None or end is None else (committed, end)


def end_process(error: BaseException) -> NoReturn:
    """End at once, before anything is acknowledged that a bug has touched. The next process begins at the commit."""
    log.critical("a bug ends this process before it acknowledges anything", exc_info=error)
    logging.shutdown()
    os._exit(70)
