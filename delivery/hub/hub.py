"""Which connections read which conversation, and what the rule takes of each: a record is decoded and framed once.

Pure: the tail hands batches in, subscriptions get events, the shell sends what gathered. A conversation is keyed by its
log too: stored and unstored turns of one conversation stand in two logs.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from delivery.hub.lane_memory import LaneMemory
from delivery.protocol import events
from delivery.protocol.events import LogEvent, Logged
from delivery.protocol.positions import Seal
from delivery.protocol.subscription import Subscription
from schemas.errors import ContractError
from schemas.fold import ConversationFold
from schemas.ids import ConversationId
from schemas.records import MovedLogged, ResetLogged, TurnAccepted
from schemas.turns import LogAddress

OnUnreadable = Callable[[LogAddress, int, ContractError], None]


class Read(Protocol):
    """A record as the tail reads it."""

    @property
    def offset(self) -> int:
        """Its place in the log."""

    @property
    def key(self) -> bytes | None:
        """The conversation."""

    @property
    def value(self) -> bytes | None:
        """The record's bytes."""


class Channel:
    """One conversation in one log, with its readers.

    Args:
        fold: the rule's state behind `offset`, the same as any reader's; None until the first whole reader has it.
    """

    __slots__ = (
        "_parked",
        "_seal",
        "begun_at",
        "conversation",
        "fold",
        "log",
        "offset",
        "turn_readers",
        "whole_readers",
    )

    def __init__(self, log: LogAddress, conversation: ConversationId, seal: Seal) -> None:
        self.log = log
        self.conversation = conversation
        self.fold: ConversationFold | None = None
        self.offset = self.begun_at = -1
        self.whole_readers: list[Subscription] = []
        self.turn_readers: list[Subscription] = []
        self._parked: list[Logged] = []
        self._seal = seal

    @property
    def is_idle(self) -> bool:
        """True when nobody reads it."""
        return not self.whole_readers and not self.turn_readers

    def rest(self) -> None:
        """Without a whole reader nothing waits for the state, and a state that isn't kept up is none."""
        if not self.whole_readers:
            self.fold = None
            self._parked.clear()

    def position(self, offset: int, fold: ConversationFold) -> str:
        """A position of a reader of the whole conversation."""
        return self._seal.write(self.log, offset, fold, self.conversation)

    def begin(self, fold: ConversationFold, offset: int) -> None:
        """The state behind `offset` is known; what waited behind it is handed on. Only the first call counts.

        A reader that joined before `offset` was handed on has to read up to `begun_at` by itself.
        """
        if self.fold is not None:
            return
        self.fold, self.offset, self.begun_at = fold.copy(), offset, offset
        parked, self._parked = self._parked, []
        for logged in parked:
            self._share(logged)

    def take(self, logged: Logged) -> None:
        """The next record of the conversation, in log order."""
        record = logged.record
        if self.turn_readers:
            is_ordered = isinstance(record, TurnAccepted | ResetLogged | MovedLogged)
            for reader in list(self.turn_readers):
                if is_ordered or record.turn == reader.turn:
                    reader.offer(logged)
        if self.fold is not None:
            self._share(logged)
        elif self.whole_readers:
            self._parked.append(logged)

    def _share(self, logged: Logged) -> None:
        fold = self.fold
        if fold is None or logged.offset <= self.offset:
            return
        self.offset = logged.offset
        if not fold.take(logged.record):
            return
        event = LogEvent(logged, self.conversation, self.position(logged.offset, fold))
        readers = self.whole_readers
        # A reader may leave while it is fed (its log moved, its turn ended).
        for reader in readers if len(readers) == 1 else list(readers):
            reader.offer(event)


class TailedLog:
    """One log that is tailed.

    Args:
        offset: the last one that the tail handed on, or the one before the first that it will.
        memory: of a lane; None for an own topic.
    """

    __slots__ = ("address", "channels", "memory", "offset")

    def __init__(self, address: LogAddress, offset: int, memory: LaneMemory | None) -> None:
        self.address = address
        self.offset = offset
        self.memory = memory
        self.channels: dict[bytes, Channel] = {}


class Hub:
    """All that is read on this node.

    Args:
        seal: makes positions.
        on_unreadable: told of a record that is none, which every reader then misses alike.
    """

    def __init__(self, seal: Seal, on_unreadable: OnUnreadable) -> None:
        self._seal = seal
        self._on_unreadable = on_unreadable
        self._logs: dict[LogAddress, TailedLog] = {}

    def log(self, address: LogAddress) -> TailedLog | None:
        """The log if it is tailed."""
        return self._logs.get(address)

    def open(self, address: LogAddress, next_offset: int, memory: LaneMemory | None) -> TailedLog:
        """The log is tailed from `next_offset` on."""
        log = TailedLog(address, next_offset - 1, memory)
        self._logs[address] = log
        return log

    def close(self, address: LogAddress) -> tuple[Subscription, ...]:
        """The log isn't tailed any more; returns who read it."""
        log = self._logs.pop(address, None)
        if log is None:
            return ()
        return tuple(each for channel in log.channels.values() for each in _readers(channel))

    def join(self, log: TailedLog, subscription: Subscription) -> Channel:
        """Everything behind the log's present offset reaches the subscription from now on."""
        key = subscription.conversation.encode()
        channel = log.channels.get(key)
        if channel is None:
            channel = log.channels[key] = Channel(log.address, subscription.conversation, self._seal)
        (channel.whole_readers if subscription.turn is None else channel.turn_readers).append(subscription)
        return channel

    def leave(self, address: LogAddress, subscription: Subscription) -> bool:
        """Nothing reaches it any more; True when nobody reads the log now. Idempotent."""
        log = self._logs.get(address)
        if log is None:
            return False
        key = subscription.conversation.encode()
        channel = log.channels.get(key)
        if channel is not None:
            for readers in (channel.whole_readers, channel.turn_readers):
                if subscription in readers:
                    readers.remove(subscription)
            channel.rest()
            if channel.is_idle:
                del log.channels[key]
        return not log.channels

    def take(self, address: LogAddress, entries: Sequence[Read], now_s: float) -> None:
        """The tail's next batch of a log."""
        log = self._logs.get(address)
        if log is None:
            return
        memory = log.memory
        for entry in entries:
            if entry.offset <= log.offset:
                continue
            log.offset = entry.offset
            if entry.key is None or entry.value is None:
                continue
            if memory is not None:
                memory.saw(entry.key, entry.offset)
            channel = log.channels.get(entry.key)
            if channel is not None:
                self._feed(channel, entry.offset, entry.value)
        if memory is not None:
            memory.turn(log.offset + 1, now_s)

    def _feed(self, channel: Channel, offset: int, value: bytes) -> None:
        try:
            logged = events.read(offset, value)
        except ContractError as error:
            self._on_unreadable(channel.log, offset, error)
            return
        if logged is not None:
            channel.take(logged)


def _readers(channel: Channel) -> Iterable[Subscription]:
    return (*channel.whole_readers, *channel.turn_readers)
