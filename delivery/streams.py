"""Carries out what dialogues ask for: finds logs, reads the past, joins readers to the live end, hands words on.

The order that leaves no seam: the log is tailed first, the subscription is registered at the tail's present offset, and
only then is the past read up to exactly there (DESIGN.md, "Resume").
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from delivery.directory.directory import Directory, Known
from delivery.history.past import Past, Whose
from delivery.history.port import LogRanges
from delivery.hub.hub import Channel, Hub, TailedLog
from delivery.lanes import Lanes
from delivery.protocol.dialogue import Dialogue, Join
from delivery.protocol.positions import WHOLE, Seal
from delivery.protocol.subscription import Subscription
from delivery.tailer.port import Batch, LogTail
from infra.runtime.kafka_client import RangeGone, TopicUnknown
from schemas import identity, topics
from schemas.errors import DependencyError, ErrorCode, Forbidden, KafkaUnavailable, NotFound
from schemas.fold import ConversationFold
from schemas.frames import Subscribe, Subscribed
from schemas.ids import ConversationId
from schemas.position import Position
from schemas.turns import LogAddress

# Records of the past that are handed on between two looks at whether the socket still takes them.
_CHUNK: Final = 64

# Records that a first reader may have missed for its log to be tailed from there: some 100 KB, which no outbox minds. A
# thousand readers that come back at once are then served by a few answers to the tail, instead of a read each.
_TAILED_BACK: Final = 256

log = logging.getLogger(__name__)


class Socket(Protocol):
    """What a dialogue's owner can do."""

    def flush(self) -> None:
        """Send what waits."""

    async def drained(self) -> None:
        """Wait until the socket takes more, or is gone."""


class Streams:
    """Everything between the tail and the dialogues of one node.

    Args:
        touched: dialogues that have something to send.
        ranges: reads logs, patient with brokers. probe: the same with little patience, for topics that may not exist.
        lanes: the indexes of lanes. lane_count: partitions of the lane topics.
        max_replay: offsets between a position and the end that are still read one by one; more is a history.
        on_lag_s: told once a batch how old its oldest record is.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        past: Past,
        ranges: LogRanges,
        probe: LogRanges,
        directory: Directory,
        refresh_directory: Callable[[], Awaitable[None]],
        seal: Seal,
        touched: list[Dialogue],
        lanes: Lanes,
        lane_count: int,
        max_replay: int,
        wall_ms: Callable[[], int],
        on_lag_s: Callable[[float], None],
    ) -> None:
        self._hub = hub
        self._past = past
        self._ranges = ranges
        self._probe = probe
        self._directory = directory
        self._refresh_directory = refresh_directory
        self._seal = seal
        self._touched = touched
        self._lanes = lanes
        self._lane_count = lane_count
        self._max_replay = max_replay
        self._wall_ms = wall_ms
        self._on_lag_s = on_lag_s
        self._tail: LogTail | None = None
        self._where: dict[Subscription, tuple[LogAddress, Dialogue]] = {}
        self._opening: dict[LogAddress, asyncio.Task[None]] = {}

    def tail_with(self, tail: LogTail) -> None:
        """The tail whose batches come to `take`; given once, before the first subscription."""
        self._tail = tail

    async def open_lanes(self) -> None:
        """Tail every lane, so that their indexes begin now. Raises KafkaUnavailable."""
        names = (topics.LANES, topics.UNSTORED_LANES)
        await asyncio.gather(
            *(self._tailed(LogAddress(name, lane)) for name in names for lane in range(self._lane_count))
        )

    # --- from the tail ------------------------------------------------------------------------------------------------

    def take(self, batches: Sequence[Batch]) -> None:
        """What the tail read: to the readers' outboxes, then to their sockets."""
        now_s = time.monotonic()
        oldest_ms = min(batch.entries[0].at_ms for batch in batches)
        for batch in batches:
            self._hub.take(batch.address, batch.entries, now_s)
        self.flush()
        self._on_lag_s(max(0.0, (self._wall_ms() - oldest_ms) / 1000))

    def lost(self, address: LogAddress) -> None:
        """The tail can't go on in this log: its readers come back and find the right place."""
        lost = set(self._hub.close(address))
        for subscription, (_, dialogue) in list(self._where.items()):
            if subscription in lost:
                dialogue.log_lost(subscription)
        self.flush()

    def flush(self) -> None:
        """Send whatever waits anywhere."""
        while self._touched:
            dialogue = self._touched.pop()
            dialogue.is_touched = False
            socket: Socket = dialogue.owner
            socket.flush()

    def gone(self, conversation: ConversationId) -> None:
        """The conversation was deleted: nobody reads it any more."""
        for subscription, (_, dialogue) in list(self._where.items()):
            if subscription.conversation == conversation:
                dialogue.refused(subscription, ErrorCode.NOT_FOUND, "the conversation was deleted")
        self.flush()

    # --- from the dialogues -------------------------------------------------------------------------------------------

    async def join(self, dialogue: Dialogue, command: Join) -> None:
        """Answer a subscribe and feed it. Never raises for what a client or an outage can cause."""
        subscription, frame = command.subscription, command.frame
        try:
            known, address = await self._locate(dialogue, frame, subscription.conversation)
            after = self._place(subscription, frame, address)
            tailed = await self._registered(address, dialogue, subscription, after)
            if tailed is not None:
                await self._catch_up(dialogue, subscription, after, known, *tailed)
        except (NotFound, Forbidden) as error:
            dialogue.refused(subscription, error.code, str(error))
        except RangeGone:
            dialogue.log_lost(subscription)
        except DependencyError as error:
            log.warning("a subscribe failed: %s", error)
            dialogue.refused(subscription, ErrorCode.UNAVAILABLE, "the conversation can't be read now: try again")
        self._check(dialogue)

    def leave(self, subscription: Subscription) -> None:
        """Feed it no more; an own topic that nobody reads is left. Idempotent."""
        address, _ = self._where.pop(subscription, (None, None))
        if address is not None and self._hub.leave(address, subscription):
            self._close(address)

    def _check(self, dialogue: Dialogue) -> None:
        """Close it when too much waits, which only the socket can tell: one answer may be larger than the bound."""
        self.flush()
        dialogue.check()
        self.flush()

    async def _locate(
        self, dialogue: Dialogue, frame: Subscribe, conversation: ConversationId
    ) -> tuple[Known | None, LogAddress]:
        access = dialogue.access
        principal = None if access is None else access.principal
        if principal is None and frame.log is not None:
            return None, frame.log
        if principal is not None and not principal.may(identity.READ):
            raise Forbidden(f"reading needs the scope {identity.READ}")
        known = self._directory.find(conversation)
        if known is None and not self._directory.has_met(conversation):
            await self._refresh_directory()
            known = self._directory.find(conversation)
        if known is None or (
            principal is not None and not principal.reaches(conversation, tenant=known.tenant, user=known.user)
        ):
            raise NotFound("no such conversation")
        return known, topics.address(conversation, retired=known.retired, stored=True, lanes=self._lane_count)

    def _place(self, subscription: Subscription, frame: Subscribe, address: LogAddress) -> Position | None:
        """Where the client stands in this log; None when it names no place that is ours and in it."""
        if frame.after is None:
            return None
        position = self._seal.read(frame.after, subscription.conversation, _scope(subscription))
        return position if position is not None and position.log == address else None

    async def _registered(
        self, address: LogAddress, dialogue: Dialogue, subscription: Subscription, after: Position | None
    ) -> tuple[TailedLog, Channel] | None:
        """The tailed log with the subscription registered; None when the client left meanwhile."""
        while True:
            tailed = await self._tailed(address, after)
            # Between the answer and here the log may have been left by its last reader.
            if self._hub.log(address) is not tailed:
                continue
            if subscription.is_over:
                if not tailed.channels:
                    self._close(address)
                return None
            self._where[subscription] = (address, dialogue)
            return tailed, self._hub.join(tailed, subscription)

    async def _tailed(self, address: LogAddress, after: Position | None = None) -> TailedLog:
        while True:
            found = self._hub.log(address)
            if found is not None:
                return found
            opening = self._opening.get(address)
            if opening is None:
                opening = self._opening[address] = asyncio.create_task(self._open(address, after))
                opening.add_done_callback(lambda _: self._opening.pop(address, None))
            await asyncio.shield(opening)

    async def _open(self, address: LogAddress, after: Position | None) -> None:
        if not topics.is_own_topic(address):
            start = await self._end(address)
            self._hub.open(address, start, self._lanes.begin(address, start))
        else:
            start = await self._own_start(address, after)
            self._hub.open(address, start, None)
        if self._tail is not None:
            self._tail.add(address, start)

    async def _own_start(self, address: LogAddress, after: Position | None) -> int:
        """The end; or behind the first reader's position: the tail then brings what it missed."""
        end = await self._end(address)
        first = end if after is None else after.offset + 1
        if first < end <= first + _TAILED_BACK:
            beginning = await self._ranges.beginning(address.topic, address.partition)
            return first if beginning <= first else end
        return end

    async def _end(self, address: LogAddress) -> int:
        try:
            return await self._probe.end(address.topic, address.partition)
        except TopicUnknown:
            if not topics.is_own_topic(address):
                raise
            return 0  # being made: all that it will ever hold lies ahead
        except KafkaUnavailable:
            return await self._ranges.end(address.topic, address.partition)

    def _close(self, address: LogAddress) -> None:
        if topics.is_own_topic(address):
            self._hub.close(address)
            if self._tail is not None:
                self._tail.remove(address)

    # --- the past -----------------------------------------------------------------------------------------------------

    async def _catch_up(
        self,
        dialogue: Dialogue,
        subscription: Subscription,
        after: Position | None,
        known: Known | None,
        tailed: TailedLog,
        channel: Channel,
    ) -> None:
        whose = Whose(
            conversation=subscription.conversation,
            log=tailed.address,
            end=tailed.offset + 1,
            created_at_ms=None if known is None else known.created_at_ms,
            index=tailed.index,
        )
        position = after if after is not None and await self._is_resumable(after, whose) else None
        if position is not None and position.fold.is_closed:
            await self._send_on(dialogue, subscription)
        elif position is not None:
            self._answer(dialogue, subscription, whose, position.offset, position.fold, is_recovered=True)
            await self._replay(dialogue, subscription, whose, position.offset + 1)
            await self._go_live(dialogue, subscription, whose, channel, max(position.offset, whose.end - 1))
        elif subscription.turn is not None:
            start = await self._past.turn_start(whose, subscription.turn)
            self._answer(dialogue, subscription, whose, start - 1, ConversationFold(), is_recovered=False)
            await self._replay(dialogue, subscription, whose, start)
            await self._go_live(dialogue, subscription, whose, channel, whose.end - 1)
        else:
            snapshot = await self._past.snapshot(whose)
            if subscription.is_over:
                return
            if snapshot.fold.is_closed:
                await self._send_on(dialogue, subscription)
                return
            position_text = self._position(subscription, whose, whose.end - 1, snapshot.fold)
            dialogue.answer(
                Subscribed(
                    ref=subscription.ref,
                    conversation=subscription.conversation,
                    recovered=False,
                    position=position_text,
                    history=snapshot.history,
                    before=snapshot.before,
                )
            )
            self._located(subscription, whose, whose.end - 1, snapshot.fold)
            await self._go_live(dialogue, subscription, whose, channel, whose.end - 1)

    async def _send_on(self, dialogue: Dialogue, subscription: Subscription) -> None:
        """The directory here was behind: the log is closed. It is caught up before the reader comes back."""
        await self._refresh_directory()
        dialogue.log_moved(subscription)

    async def _is_resumable(self, position: Position, whose: Whose) -> bool:
        """True when everything behind the position is still there and not too much."""
        first = position.offset + 1
        reading = whose.reading(first)
        if first <= whose.end and not reading.stretches:
            return True  # what is behind it, if anything, is held here
        return reading.records <= self._max_replay and await self._past.is_kept(whose, first)

    def _answer(
        self,
        dialogue: Dialogue,
        subscription: Subscription,
        whose: Whose,
        seen: int,
        fold: ConversationFold,
        *,
        is_recovered: bool,
    ) -> None:
        if subscription.is_over:
            return
        dialogue.answer(
            Subscribed(
                ref=subscription.ref,
                conversation=subscription.conversation,
                recovered=is_recovered,
                position=self._position(subscription, whose, seen, fold),
            )
        )
        self._located(subscription, whose, seen, fold)

    def _located(self, subscription: Subscription, whose: Whose, seen: int, fold: ConversationFold) -> None:
        def write(offset: int, state: ConversationFold) -> str:
            return self._position(subscription, whose, offset, state)

        subscription.located(seen, fold.copy(), write)

    def _position(self, subscription: Subscription, whose: Whose, offset: int, fold: ConversationFold) -> str:
        return self._seal.write(whose.log, offset, fold, whose.conversation, _scope(subscription))

    async def _replay(self, dialogue: Dialogue, subscription: Subscription, whose: Whose, start: int) -> None:
        """Hand the records of `[start, whose.end)` to the subscription, as fast as the socket takes them."""
        socket: Socket = dialogue.owner
        handed = 0
        reading = self._past.replay(whose, start) if subscription.turn is not None else self._past.read(whose, start)
        async for logged in reading:
            subscription.replay(logged)
            if subscription.is_over:
                return
            handed += 1
            if handed % _CHUNK == 0:
                self._check(dialogue)
                await socket.drained()

    async def _go_live(
        self, dialogue: Dialogue, subscription: Subscription, whose: Whose, channel: Channel, seen: int
    ) -> None:
        if subscription.is_over:
            return
        if subscription.turn is None:
            channel.begin(subscription.fold, seen)
            if channel.begun_at > seen:
                # Another reader's later place began the channel: what it skipped is read here.
                stretch = replace(whose, end=channel.begun_at + 1)
                await self._replay(dialogue, subscription, stretch, seen + 1)
                seen = channel.begun_at
        subscription.caught_up(seen)


def _scope(subscription: Subscription) -> str:
    return WHOLE if subscription.turn is None else subscription.turn
