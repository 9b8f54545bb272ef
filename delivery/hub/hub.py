"""Which connections read which conversation, and what the rule takes of each: a record is decoded and framed once.

Pure: the tail hands batches in, subscriptions get events, the shell sends what gathered. A conversation is keyed by its
log too: stored and unstored turns of one conversation stand in two logs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from delivery.hub.lane_index import LaneIndex
from schemas.errors import ContractError
from schemas.fold import ConversationFold
from schemas.ids import ConversationId, TurnId
from schemas.records import MovedLogged, Record, ResetLogged, TurnAccepted
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


class Logged(Protocol):
    """A record as it was decoded."""

    @property
    def offset(self) -> int:
        """Its place in the log."""

    @property
    def record(self) -> Record:
        """For the rule."""


class Reader(Protocol):
    """Who reads a conversation, or one turn of it."""

    @property
    def conversation(self) -> ConversationId:
        """Which."""

    @property
    def turn(self) -> TurnId | None:
        """None = the whole conversation."""

    def offer(self, item: Any) -> None:
        """The next event that all share; for a turn's reader the next record."""


@dataclass(frozen=True, slots=True)
class Words:
    """How records become what readers get; the protocol's own functions.

    Args:
        read: decodes a record; None for what readers ignore. Raises ContractError.
        position: the position behind a record.
        event: what all readers of the conversation share.
    """

    read: Callable[[int, bytes], Logged | None]
    position: Callable[[LogAddress, int, ConversationFold, ConversationId], str]
    event: Callable[[Any, ConversationId, str], object]


class Channel:
    """One conversation in one log, with its readers.

    Args:
        fold: the rule's state behind `offset`, the same as any reader's; None until the first whole reader has it.
    """

    __slots__ = (
        "_parked",
        "_words",
        "begun_at",
        "conversation",
        "fold",
        "log",
        "offset",
        "turn_readers",
        "whole_readers",
    )

    def __init__(self, log: LogAddress, conversation: ConversationId, words: Words) -> None:
        self.log = log
        self.conversation = conversation
        self.fold: ConversationFold | None = None
        self.offset = self.begun_at = -1
        self.whole_readers: list[Reader] = []
        self.turn_readers: list[Reader] = []
        self._parked: list[Logged] = []
        self._words = words

    @property
    def is_idle(self) -> bool:
        """True when nobody reads it."""
        return not self.whole_readers and not self.turn_readers

    def rest(self) -> None:
        """Without a whole reader nothing waits for the state, and a state that isn't kept up is none."""
        if not self.whole_readers:
            self.fold = None
            self._parked.clear()

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
        position = self._words.position(self.log, logged.offset, fold, self.conversation)
        event = self._words.event(logged, self.conversation, position)
        readers = self.whole_readers
        # A reader may leave while it is fed (its log moved, its turn ended).
        for reader in readers if len(readers) == 1 else list(readers):
            reader.offer(event)


class TailedLog:
    """One log that is tailed.

    Args:
        offset: the last one that the tail handed on, or the one before the first that it will.
        index: of a lane; None for an own topic.
    """

    __slots__ = ("address", "channels", "index", "offset")

    def __init__(self, address: LogAddress, offset: int, index: LaneIndex | None) -> None:
        self.address = address
        self.offset = offset
        self.index = index
        self.channels: dict[bytes, Channel] = {}


class Hub:
    """All that is read on this node.

    Args:
        words: make what readers get.
        on_unreadable: told of a record that is none, which every reader then misses alike.
    """

    def __init__(self, words: Words, on_unreadable: OnUnreadable) -> None:
        self._words = words
        self._on_unreadable = on_unreadable
        self._logs: dict[LogAddress, TailedLog] = {}

    def log(self, address: LogAddress) -> TailedLog | None:
        """The log if it is tailed."""
        return self._logs.get(address)

    def open(self, address: LogAddress, next_offset: int, index: LaneIndex | None) -> TailedLog:
        """The log is tailed from `next_offset` on."""
        log = TailedLog(address, next_offset - 1, index)
        self._logs[address] = log
        return log

    def close(self, address: LogAddress) -> tuple[Reader, ...]:
        """The log isn't tailed any more; returns who read it."""
        log = self._logs.pop(address, None)
        if log is None:
            return ()
        return tuple(each for channel in log.channels.values() for each in _readers(channel))

    def join(self, log: TailedLog, reader: Reader) -> Channel:
        """Everything behind the log's present offset reaches the reader from now on."""
        key = reader.conversation.encode()
        channel = log.channels.get(key)
        if channel is None:
            channel = log.channels[key] = Channel(log.address, reader.conversation, self._words)
        (channel.whole_readers if reader.turn is None else channel.turn_readers).append(reader)
        return channel

    def leave(self, address: LogAddress, reader: Reader) -> bool:
        """Nothing reaches it any more; True when nobody reads the log now. Idempotent."""
        log = self._logs.get(address)
        if log is None:
            return False
        key = reader.conversation.encode()
        channel = log.channels.get(key)
        if channel is not None:
            for readers in (channel.whole_readers, channel.turn_readers):
                if reader in readers:
                    readers.remove(reader)
            channel.rest()
            if channel.is_idle:
                del log.channels[key]
        return not log.channels

    def take(self, address: LogAddress, entries: Sequence[Read], now_s: float) -> None:
        """The tail's next batch of a log."""
        log = self._logs.get(address)
        if log is None:
            return
        index = log.index
        for entry in entries:
            if entry.offset <= log.offset:
                continue
            log.offset = entry.offset
            if entry.key is None or entry.value is None:
                continue
            if index is not None:
                index.saw(entry.key, entry.offset, entry.value)
            channel = log.channels.get(entry.key)
            if channel is not None:
                self._feed(channel, entry.offset, entry.value)
        if index is not None:
            index.forget(log.offset + 1, now_s)

    def _feed(self, channel: Channel, offset: int, value: bytes) -> None:
        try:
            logged = self._words.read(offset, value)
        except ContractError as error:
            self._on_unreadable(channel.log, offset, error)
            return
        if logged is not None:
            channel.take(logged)


def _readers(channel: Channel) -> Iterable[Reader]:
    return (*channel.whole_readers, *channel.turn_readers)
