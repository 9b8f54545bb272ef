"""Persistence and its rows: a reader of `chat.turns` that may read again, and what the gate's loader finds there."""

from typing import TYPE_CHECKING, Any, cast

from infra.runtime.turn_store import StoredConversation
from schemas import topics
from schemas.ids import ConversationId, TurnId
from schemas.records import ConversationDeleted, ConversationReset, TurnCompleted
from stream_processors.enrichment.loader import Loader
from tests.simulation.promise import Broken, name_of
from tests.simulation.stepping import at_once

if TYPE_CHECKING:
    from tests.simulation.world import World

Step = tuple[str, str, str]


class Store:
    """See the module, and `loader.Past`.

    Args:
        position: of `chat.turns`: what is before it is stored. heard: the same of `chat.conversations`.
    """

    name = "store"

    def __init__(self, world: "World") -> None:
        self._world = world
        self.position = self.heard = 0
        self.rows: dict[TurnId, TurnCompleted] = {}
        self._epoch = 0
        self._is_deleted = False
        self._loader = Loader(cast("Any", self), cast("Any", None), lambda: world.now_ms, 50)

    def steps(self) -> list[Step]:
        """The next records, while there are any."""
        log, name = self._world.broker.log, self.name
        found: list[Step] = [(name, "stores", "")] if self.position < len(log(topics.TURNS)) else []
        return [*found, (name, "hears", "")] if self.heard < len(log(topics.CONVERSATIONS)) else found

    def do(self, verb: str, _what: str) -> None:
        """Carry one of `steps` out. Raises Broken for a second row of one turn."""
        if verb == "hears":
            self.heard += 1
            return
        record = self._world.broker.log(topics.TURNS)[self.position]
        self.position += 1
        match record:
            case TurnCompleted():
                turn = TurnId(str(record.turn))
                if self.rows.get(turn, record) != record:
                    raise Broken("one record", f"{name_of(turn)} has two rows")
                if not self._is_deleted:
                    self.rows[turn] = record
            case ConversationReset():
                self._epoch = max(self._epoch, record.epoch or 0)
            case ConversationDeleted():
                self._is_deleted = True
                self.rows.clear()

    def loads(self, conversation: ConversationId, tenant: str | None, parent: TurnId | None) -> None:
        """The loader reads, and says what it found: see `Loader`."""
        record = at_once(self._loader._read(conversation, tenant, parent))
        self._world.broker.append(topics.CONTROL, record)

    def newest_first(self) -> list[TurnCompleted]:
        """All rows."""
        return sorted(self.rows.values(), key=lambda row: -row.n)

    async def conversation(self, conversation: ConversationId) -> StoredConversation | None:
        """See `Past.conversation`."""
        rows = self.newest_first()
        if not rows and not self._epoch and not self._is_deleted and not self.heard:
            return None
        return StoredConversation(
            conversation=conversation,
            tenant=None,
            user=None,
            created_at=None,
            metadata={},
            instructions=None,
            retired=any(each.retired for each in self._world.broker.log(topics.CONVERSATIONS)[: self.heard]),
            deleted=self._is_deleted,
            epoch=self._epoch,
            next_n=rows[0].n + 1 if rows else 1,
            active_at=None,
        )

    async def newest(
        self, _conversation: ConversationId, limit: int, *, before_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        """See `Past.newest`."""
        rows = self.newest_first()
        return tuple(row for row in rows if before_n is None or row.n < before_n)[:limit]

    async def turn(self, turn: TurnId) -> TurnCompleted | None:
        """See `Past.turn`."""
        return self.rows.get(turn)
