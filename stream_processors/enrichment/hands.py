"""Carries out what the gate decided: appends in order, waits for the acks, reads its own ends back.

Every append that fails for the moment is done again in place, until it is acknowledged; repeats are dropped downstream.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from infra.runtime.clock import Clock
from infra.runtime.kafka import Appender, Placed, RangeGone, TopicUnknown
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_topics import TopicAdmin
from infra.runtime.logs import bound, trace_id
from schemas import codec, instants, projection, topics
from schemas.errors import ContractError, DependencyError, InvariantBroken
from schemas.fold import TurnFold
from schemas.ids import ConversationId, TurnId
from schemas.records import MovedLogged, Record, TurnDispatched, TurnEnded, TurnStarted
from schemas.turns import LogAddress
from stream_processors.enrichment import composing
from stream_processors.enrichment.composing import Request, Scene
from stream_processors.enrichment.effects import (
    AnnounceDeleted,
    AppendAccepted,
    AppendQueued,
    AppendReset,
    CloseLog,
    DeleteLog,
    Dispatch,
    Effect,
    EndTurn,
    LoadContext,
    RequestStop,
)
from stream_processors.enrichment.inputs import EndLost, LogClosed, LogDeleted, Told
from stream_processors.enrichment.own_topics import OwnTopics
from stream_processors.enrichment.state import OpenTurn, Phase, State

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_BACKOFF_S: Final = 0.1
_MAX_BACKOFF_S: Final = 2.0
# In a lane the reading of a turn begins so far before its request; clocks of two machines differ by less. Everybody's
# records lie between, so a wider margin is tried only where the narrow one shows no end.
_MARGIN_MS: Final = 5_000
_WIDE_MARGIN_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One conversation's effects, and what must be safe before them.

    Args:
        partition: of the input, the same on all of the gate's topics.
        state: as it was after the input; None: forgotten.
        written: done when state and context are safe.
    """

    partition: int
    conversation: ConversationId
    state: State | None
    effects: tuple[Effect, ...]
    written: tuple["asyncio.Future[None]", ...] = ()


class Words(Protocol):
    """Where the texts of a turn come from."""

    async def request(self, partition: int, turn: OpenTurn) -> Request:
        """The turn's request."""
        ...

    def dispatched(self, here: Scene, partition: int, turn: OpenTurn, request: Request) -> Awaitable[TurnDispatched]:
        """The turn for its worker, prompt and all."""
        ...


@dataclass(frozen=True, slots=True)
class _Append:
    topic: str
    record: Record
    partition: int | None = None
    trace: str | None = None
    """The turn's `traceparent`."""


class Hands:
    """See the module.

    Args:
        own_topics: closes and deletes those of retired conversations.
        load: asks the loader: conversation, tenant, parent.
        elsewhere: the partition for a turn that this worker's engine has failed, None = wherever its key says.
        jitter: a number in [0, 1).
        on_ended: told each end of a turn that no worker claimed, once it is projected; a repeat is told again.
        on_step: told `changelog`, `closed`, `logs`, `deleted`, `effects` as each is safe; tests kill the process there.
    """

    def __init__(
        self,
        *,
        appender: Appender,
        reader: LogReader,
        admin: TopicAdmin,
        clock: Clock,
        words: Words,
        own_topics: OwnTopics,
        load: Callable[[ConversationId, str | None, TurnId | None], None],
        elsewhere: Callable[[OpenTurn, str], int | None] = lambda _turn, _worker: None,
        jitter: Callable[[], float] = random.random,
        on_step: Callable[[str], None] = lambda _step: None,
        on_ended: Callable[[TurnEnded], None] = lambda _end: None,
    ) -> None:
        self._appender = appender
        self._reader = reader
        self._admin = admin
        self._clock = clock
        self._words = words
        self._own_topics = own_topics
        self._load = load
        self._elsewhere = elsewhere
        self._jitter = jitter
        self._on_step = on_step
        self._on_ended = on_ended

    async def perform(self, decided: Decided) -> list[Told]:
        """All effects are in Kafka; what came of those that the gate must hear of.

        First what readers of the log must see before a worker can write there, then the rest, then the reading back.
        A log is closed before anything is written to the one that follows it.
        """
        for written in decided.written:  # all are under way: waiting one by one is cheaper than a gather
            await written
        self._on_step("changelog")
        if decided.state is None or decided.state.log is None or not decided.effects:
            return []
        here = composing.scene(decided.state, decided.state.log, self._clock.wall_ms())
        told: list[Told] = []
        if CloseLog() in decided.effects:
            told.append(await self._close(here, decided))
        logged = [await self._logged(here, decided.partition, effect) for effect in decided.effects]
        first = [append for append in logged if append is not None]
        if first:
            await self._append_all(first, here)
            self._on_step("logs")
        others: list[_Append] = []
        for effect in decided.effects:
            others += await self._other(here, decided, effect)
        if others:
            await self._append_all(others, here)
        for effect in decided.effects:
            if isinstance(effect, EndTurn):
                missed = await self._read_back(here, decided.partition, effect.turn)
                told += [] if missed is None else [missed]
            elif isinstance(effect, DeleteLog):
                told += await self._delete(here)
        self._on_step("effects")
        return told

    async def _delete(self, here: Scene) -> list[Told]:
        """Tried once: a broker that refuses must not hold up the conversation and the tick, which asks again."""
        try:
            await self._own_topics.delete(here.conversation)
        except DependencyError as error:
            log.warning("an own topic can't be deleted: %s; the next tick tries again", error)
            return []
        self._on_step("deleted")
        return [LogDeleted()]

    async def _close(self, here: Scene, decided: Decided) -> LogClosed:
        """The directory first: who is sent away by `conversation.moved` finds there where to go."""
        is_deleted = _of(decided).phase is Phase.DELETED
        offset = await self._persist(
            lambda: self._own_topics.announce_retired(decided.partition, here.conversation, is_deleted=is_deleted),
            "announce a retirement",
        )
        await self._persist(lambda: self._own_topics.close(composing.moved_logged(here)), "close an own topic")
        self._on_step("closed")
        return LogClosed(offset=offset)

    async def _logged(self, here: Scene, partition: int, effect: Effect) -> _Append | None:
        record: Record
        request: Request | None = None
        match effect:
            case AppendAccepted(turn):
                request = await self._request(partition, turn)
                record = composing.accepted(here, turn, request)
            case EndTurn(turn):
                request = await self._request(partition, turn)
                record = composing.ended(here, turn, request)
            case AppendQueued(turn):
                request = await self._request(partition, turn)
                record = composing.queued(here, effect)
            case AppendReset():
                record = composing.reset_logged(here, effect)
            case _:
                return None
        trace = None if request is None else request.request.traceparent
        return _Append(here.log.topic, record, here.log.partition, trace)

    async def _other(self, here: Scene, decided: Decided, effect: Effect) -> list[_Append]:
        match effect:
            case Dispatch(turn, avoid):
                request = await self._request(decided.partition, turn)
                record = await self._words.dispatched(here, decided.partition, turn, request)
                partition = None if avoid is None else self._elsewhere(turn, avoid)
                return [_Append(topics.inference_topic(record.pool).name, record, partition)]
            case RequestStop():
                return [_Append(topics.CONTROL, composing.stop_requested(here, effect))]
            case AppendReset():
                return [_Append(topics.TURNS, composing.reset_announced(here, effect))]
            case AnnounceDeleted(at_ms):
                then = composing.scene(_of(decided), here.log, at_ms)
                return [
                    _Append(topics.CONVERSATIONS, composing.directory_deleted(then)),
                    _Append(topics.TURNS, composing.deleted(then)),
                ]
            case LoadContext(parent):
                self._load(here.conversation, here.tenant, parent)
        return []

    async def _request(self, partition: int, turn: OpenTurn) -> Request:
        return await self._persist(lambda: self._words.request(partition, turn), f"read the request of {turn.turn}")

    async def _append_all(self, appends: Sequence[_Append], here: Scene) -> list[Placed]:
        """Enqueue in order, gather the acks; after a failure all again, in order."""

        async def once() -> list[Placed]:
            sent = [
                await self._appender.send(each.topic, each.record, partition=each.partition, trace=each.trace)
                for each in appends
            ]
            return [await acked for acked in sent]

        async def with_topic() -> list[Placed]:
            try:
                return await once()
            except TopicUnknown:
                # Whoever made the conversation died before its topic was made; a retired one has a lane by now.
                if topics.is_own_topic(here.log):
                    await self._admin.create([topics.own_topic(here.conversation)])
                raise

        with bound(turn=_only(each.record.turn for each in appends), trace_id=_only(map(_trace_of, appends))):
            return await self._persist(with_topic, f"append to {appends[0].topic}")

    async def _read_back(self, here: Scene, partition: int, turn: OpenTurn) -> EndLost | None:
        """Fold the log as any reader would: the end that is taken is projected; without one the turn runs elsewhere."""
        request = await self._request(partition, turn)

        async def folded() -> tuple[TurnFold, int]:
            found = await self._folded(here, turn, request, _MARGIN_MS)
            if found[0].ended is None and not topics.is_own_topic(here.log):
                found = await self._folded(here, turn, request, _WIDE_MARGIN_MS)
            return found

        trace = request.request.traceparent
        with bound(turn=turn.turn, trace_id=trace_id(trace)):
            fold, highest = await self._persist(folded, f"read {here.log.topic} back")
        if fold.ended is None:
            return EndLost(turn=turn.turn, dispatch=highest)
        usage = projection.usage(fold)
        if usage is not None:
            # First, and alone: once the turn record is there nobody would say the usage again.
            await self._append_all([_Append(topics.USAGE, usage, trace=trace)], here)
        await self._append_all([_Append(topics.TURNS, projection.completed(fold, here.log), trace=trace)], here)
        if usage is None:
            self._on_ended(fold.ended)
        return None

    async def _folded(self, here: Scene, turn: OpenTurn, request: Request, margin_ms: int) -> tuple[TurnFold, int]:
        fold, highest = TurnFold(turn.turn), 0
        start = await self._place(here.log, turn, instants.to_ms(request.request.accepted_at) - margin_ms)
        key = here.conversation.encode()
        async for entry in self._reader.read(here.log.topic, here.log.partition, start):
            if entry.key != key or entry.value is None:
                continue
            try:
                record = codec.decode(entry.value)
            except ContractError:
                continue  # no reader takes it
            if isinstance(record, MovedLogged):
                break  # the log was closed: what a late gate wrote behind that is nobody's end
            fold.take(record, entry.offset)
            if isinstance(record, TurnStarted) and record.turn == turn.turn:
                highest = max(highest, record.dispatch)
        return fold, highest

    async def _place(self, address: LogAddress, turn: OpenTurn, since_ms: int) -> int:
        beginning, _ = await self._reader.bounds(address.topic, address.partition)
        place = beginning if turn.place is None else max(turn.place, beginning)
        if topics.is_own_topic(address):
            return place
        return max(place, await self._reader.offset_at(address.topic, address.partition, since_ms))

    async def _persist(self, attempt: Callable[[], Awaitable[T]], what: str) -> T:
        """Try until it works: Kafka being away is no reason to lose an effect. No two turns pause alike."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            pause_s = backoff_s * (0.5 + self._jitter() / 2)
            try:
                return await attempt()
            except RangeGone:
                await asyncio.sleep(pause_s)  # cut off between two requests: the new beginning is looked up again
            except DependencyError as error:
                log.warning("%s: %s; trying again", what, error)
                await asyncio.sleep(pause_s)
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)


def _trace_of(append: _Append) -> str | None:
    return trace_id(append.trace or getattr(append.record, "traceparent", None))


def _only(texts: Iterable[str | None]) -> str | None:
    """The one that all of them name; None where they differ."""
    known = set(texts)
    return known.pop() if len(known) == 1 else None


def _of(decided: Decided) -> State:
    if decided.state is None:
        raise InvariantBroken("a forgotten conversation has effects")
    return decided.state
