"""One reader of one conversation: its stages as a table, and the splice of history, replay and live without a seam.

A subscription is registered with the hub first, so that live events wait here from then on; what lies before them is
read meanwhile. `seen` is the offset up to which the reader has everything; nothing at or below it is sent again.
"""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final

from delivery.protocol.events import LogEvent, Logged
from schemas.errors import InvariantBroken
from schemas.fold import ConversationFold
from schemas.ids import ConversationId, TurnId
from schemas.records import MovedLogged


class Stage(Enum):
    """Where a subscription stands."""

    LOCATING = auto()  # asked for; nothing was answered yet
    REPLAYING = auto()  # answered; what lies behind its position is being read
    LIVE = auto()
    OVER = auto()


class Step(Enum):
    """What moves it."""

    LOCATED = auto()
    CAUGHT_UP = auto()
    CUT = auto()  # unsubscribed, refused, replaced, or the connection ended


NEXT: Final[Mapping[tuple[Stage, Step], Stage]] = {
    (Stage.LOCATING, Step.LOCATED): Stage.REPLAYING,
    (Stage.REPLAYING, Step.CAUGHT_UP): Stage.LIVE,
    (Stage.LOCATING, Step.CUT): Stage.OVER,
    (Stage.REPLAYING, Step.CUT): Stage.OVER,
    (Stage.LIVE, Step.CUT): Stage.OVER,
    # The reader of a replay learns late that nobody waits for it any more.
    (Stage.OVER, Step.LOCATED): Stage.OVER,
    (Stage.OVER, Step.CAUGHT_UP): Stage.OVER,
    (Stage.OVER, Step.CUT): Stage.OVER,
}

# Read at each event for each reader: a class's member takes Python 3.11 ten times as long to find as a module's name.
_LIVE: Final = Stage.LIVE

Deliver = Callable[["Subscription", LogEvent], None]
WritePosition = Callable[[int, ConversationFold], str]


class Subscription:
    """A reader of a conversation, or of one turn in it (the gateway's), on one connection.

    Args:
        key: tells it apart on its connection.
        turn: None = the whole conversation.
        deliver: puts an event into the connection's outbox.
        parked_limit_bytes: how much may wait here while the past is being read.
    """

    __slots__ = (
        "_deliver",
        "_parked",
        "_write",
        "conversation",
        "fold",
        "key",
        "parked_bytes",
        "parked_limit_bytes",
        "ref",
        "seen",
        "stage",
        "turn",
    )

    def __init__(
        self,
        *,
        key: object,
        ref: str | int | None,
        conversation: ConversationId,
        turn: TurnId | None,
        deliver: Deliver,
        parked_limit_bytes: int,
    ) -> None:
        self.key = key
        self.ref = ref
        self.conversation = conversation
        self.turn = turn
        self.stage = Stage.LOCATING
        self.seen = -1
        self.fold = ConversationFold()
        self.parked_bytes = 0
        self.parked_limit_bytes = parked_limit_bytes
        self._deliver = deliver
        self._write: WritePosition | None = None
        self._parked: list[LogEvent | Logged] = []

    @property
    def is_over(self) -> bool:
        """True when nobody reads it any more."""
        return self.stage is Stage.OVER

    @property
    def is_overfull(self) -> bool:
        """True when more waits than may: the connection is too slow for its own past."""
        return self.parked_bytes > self.parked_limit_bytes

    def located(self, seen: int, fold: ConversationFold, write: WritePosition) -> None:
        """The answer was sent: the reader has everything up to `seen`, and the rule stands at `fold` there.

        Args:
            write: makes a position of this log, for events that are not shared.
        """
        self._step(Step.LOCATED)
        self.seen, self.fold, self._write = seen, fold, write

    def replay(self, logged: Logged) -> None:
        """One record of the past, in order; sent if the rule takes it."""
        if self.stage is Stage.REPLAYING and logged.offset > self.seen:
            self._take(logged)

    def caught_up(self, seen: int) -> None:
        """The past has been read up to `seen`: what waited follows, then live events."""
        if self._step(Step.CAUGHT_UP) is Stage.OVER:
            return
        self.seen = max(self.seen, seen)
        parked, self._parked, self.parked_bytes = self._parked, [], 0
        for item in parked:
            self.offer(item)

    def offer(self, item: LogEvent | Logged) -> None:
        """The next live item: a taken event that all readers share, or for a turn's reader a record of the turn."""
        if self.stage is _LIVE:
            if item.offset <= self.seen:
                return
            if isinstance(item, LogEvent):
                self.seen = item.offset
                self._deliver(self, item)
            else:
                self._take(item)
        elif self.stage is not Stage.OVER:
            self._parked.append(item)
            # A rough size is enough: the bound keeps one reader from growing, it is no account.
            self.parked_bytes += len(item.shown)

    def cut(self) -> None:
        """Nothing is sent from here on. Idempotent."""
        self._step(Step.CUT)
        self._parked.clear()
        self.parked_bytes = 0

    def _take(self, logged: Logged) -> None:
        self.seen = logged.offset
        is_moved = isinstance(logged.record, MovedLogged)
        if self.turn is not None and logged.record.turn != self.turn and not is_moved:
            # Other turns only count for the rule: an `order` that isn't above theirs is no acceptance.
            self.fold.order = max(self.fold.order, getattr(logged.record, "order", -1))
            return
        if not self.fold.take(logged.record):
            return
        if self._write is None:
            raise InvariantBroken("a subscription was fed before it was located")
        position = self._write(logged.offset, self.fold)
        self._deliver(self, LogEvent(logged, self.conversation, position, None if self.turn is None else self.ref))

    def _step(self, step: Step) -> Stage:
        following = NEXT.get((self.stage, step))
        if following is None:
            raise InvariantBroken(f"a subscription that is {self.stage.name} can't be {step.name}")
        self.stage = following
        return following
