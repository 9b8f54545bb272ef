"""Readers and their outboxes for pure tests, and what the rule takes of a log by the literal fold."""

from collections.abc import Sequence

from delivery.hub.hub import Hub, Words
from delivery.protocol import events
from delivery.protocol.events import LogEvent, Logged
from delivery.protocol.positions import Seal
from delivery.protocol.subscription import Subscription
from schemas import codec, topics
from schemas.errors import ContractError
from schemas.fold import ConversationFold
from schemas.ids import TurnId
from schemas.records import LogRecord
from schemas.turns import LogAddress
from tests.support.samples import CONVERSATION

LOG = topics.address(CONVERSATION, retired=False, stored=True, lanes=1)
LANE = topics.address(CONVERSATION, retired=True, stored=True, lanes=1)
SEAL = Seal(b"secret of tests")


class Entry:
    """A record as a tail reads it."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        self.offset = offset
        self.at_ms = 0
        self.key = key
        self.value = value


def entries(records: Sequence[LogRecord], start: int = 0) -> list[Entry]:
    """The records at consecutive offsets."""
    key = CONVERSATION.encode()
    return [Entry(start + place, key, codec.encode(record)) for place, record in enumerate(records)]


def logged(entry: Entry) -> Logged:
    """The decoded entry."""
    assert entry.value is not None
    found = events.read(entry.offset, entry.value)
    assert found is not None
    return found


def taken(records: Sequence[LogRecord]) -> list[int]:
    """Offsets of what every reader must get."""
    fold = ConversationFold()
    return [offset for offset, record in enumerate(records) if fold.take(record)]


class Sink:
    """A reader that keeps what it is sent."""

    def __init__(self, turn: TurnId | None = None, ref: int = 1, limit: int = 1 << 20) -> None:
        self.events: list[LogEvent] = []
        self.subscription = Subscription(
            key=(CONVERSATION, ref), ref=ref, conversation=CONVERSATION, turn=turn, deliver=self._take,
            parked_limit_bytes=limit,
        )  # fmt: skip

    def _take(self, _subscription: Subscription, event: LogEvent) -> None:
        self.events.append(event)

    @property
    def offsets(self) -> list[int]:
        """Of the events sent, in order."""
        return [event.offset for event in self.events]


def hub(unreadable: "list[tuple[LogAddress, int]] | None" = None) -> Hub:
    """A hub that speaks the protocol's words."""

    def note(address: LogAddress, offset: int, _error: ContractError) -> None:
        if unreadable is not None:
            unreadable.append((address, offset))

    return Hub(Words(read=events.read, position=SEAL.write, event=LogEvent), note)


def write(offset: int, fold: ConversationFold) -> str:
    """A position in LOG."""
    return SEAL.write(LOG, offset, fold, CONVERSATION)
