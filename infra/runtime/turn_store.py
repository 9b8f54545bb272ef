"""Turns and conversations in Cassandra: written by persistence, read by gateway, delivery and the gate's loader.

Every write is idempotent and bears its record's time, a delete the highest one: in whatever order and however often
records are written, the rows end the same, and nothing that was deleted comes back (DESIGN.md, "Reset and delete").
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from infra.runtime.cassandra import Row, Store
from schemas import codec, ids, instants
from schemas.ids import ConversationId, TurnId
from schemas.records import ConversationChanged, TurnCompleted
from schemas.turns import Detail, LogAddress, Reason, Verdict

# Microseconds at the end of the year 9999, the last instant that an ISO text of ours can name: no record is newer.
HIGHEST_US: Final = 253_402_300_799_999_999

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the driver gives instants in UTC without saying so
_SPLIT: Final = frozenset({"type", "stored", "log"})  # constant in a row, or spread over columns of its own
_COLUMNS: Final = (
    *(field.name for field in fields(TurnCompleted) if field.name not in _SPLIT),
    "log_topic",
    "log_partition",
)
_JSON: Final[Mapping[str, Any]] = {"interventions": tuple[Verdict, ...], "detail": Detail}
_SELECT_TURNS: Final = f"SELECT {', '.join(_COLUMNS)} FROM {{keyspace}}.turns WHERE conversation = ?"  # noqa: S608
_MARKS: Final = ", ".join("?" * len(_COLUMNS))
_INSERT_TURN: Final = f"INSERT INTO {{keyspace}}.turns ({', '.join(_COLUMNS)}) VALUES ({_MARKS}) USING TIMESTAMP ?"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """What the store knows of a conversation.

    Args:
        tenant, user, created_at: None where neither its own record nor a turn of it has arrived, or when it is deleted.
        deleted: True for ever once it was deleted; nothing else is left then.
        epoch: the present context epoch: a turn of a lower one is not part of the context.
        next_n: the place behind its highest stored turn.
        active_at: when its last turn ended; None without one.
    """

    conversation: ConversationId
    tenant: str | None
    user: str | None
    created_at: str | None
    metadata: Mapping[str, str]
    instructions: str | None
    retired: bool
    deleted: bool
    epoch: int
    next_n: int
    active_at: str | None


class TurnStore:
    """The tables of infra/migrations/0001_turns.cql. Writes may be repeated; any method may raise CassandraUnavailable.

    Args:
        store: where they are; it may be away, and not migrated yet.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- reading ------------------------------------------------------------------------------------------------------

    async def turn(self, turn: TurnId) -> TurnCompleted | None:
        """The turn; None when it isn't stored, or not yet."""
        conversation = ids.conversation_of(turn)
        places = await self._run(
            "SELECT n FROM {keyspace}.turn_places WHERE conversation = ? AND turn = ?", conversation, turn
        )
        if not places:
            return None
        rows = await self._run(f"{_SELECT_TURNS} AND n = ? AND turn = ?", conversation, places[0][0], turn)
        return _turn(rows[0]) if rows else None

    async def newest(
        self, conversation: ConversationId, limit: int, *, before_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        """The conversation's last turns, newest first; with `before_n` those below that place."""
        return await self._range(conversation, "AND n < ?", before_n, "", limit)

    async def oldest(
        self, conversation: ConversationId, limit: int, *, after_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        """The conversation's first turns, oldest first; with `after_n` those above that place."""
        return await self._range(conversation, "AND n > ?", after_n, "ORDER BY n ASC, turn DESC", limit)

    async def conversation(self, conversation: ConversationId) -> StoredConversation | None:
        """What is stored beside its turns; None when the store has never heard of it."""
        rows, top = await asyncio.gather(
            self._run(
                "SELECT tenant, user, created_at, metadata, instructions, retired, deleted, epoch, active_at"
                " FROM {keyspace}.conversations WHERE conversation = ?",
                conversation,
            ),
            self._run("SELECT n FROM {keyspace}.turns WHERE conversation = ? LIMIT 1", conversation),
        )
        if not rows:
            return None
        tenant, user, created_at, metadata, instructions, retired, deleted, epoch, active_at = rows[0]
        return StoredConversation(
            conversation=conversation,
            tenant=tenant,
            user=user,
            created_at=_instant(created_at),
            metadata={} if metadata is None else codec.convert(codec.parse(metadata), dict[str, str]),
            instructions=instructions,
            retired=bool(retired),
            deleted=bool(deleted),
            epoch=epoch or 0,
            next_n=top[0][0] + 1 if top else 1,
            active_at=_instant(active_at),
        )

    async def activity(self, tenant: str, user: str) -> Mapping[ConversationId, str]:
        """When each conversation of this user was last active: its last turn's end, else its creation."""
        rows = await self._run(
            "SELECT conversation, created_at, active_at FROM {keyspace}.conversations_by_user"
            " WHERE tenant = ? AND user = ?",
            tenant,
            user,
        )
        found = ((ConversationId(name), _instant(active_at or created_at)) for name, created_at, active_at in rows)
        return {name: at for name, at in found if at is not None}

    # --- writing ------------------------------------------------------------------------------------------------------

    async def save_turn(self, turn: TurnCompleted) -> None:
        """The turn has its row, its place and its conversation. Nothing is written for one that isn't to be stored."""
        if not turn.stored:
            return
        at_us = _us(turn.at)
        await asyncio.gather(
            self._run(_INSERT_TURN, *(_cell(turn, name) for name in _COLUMNS), at_us),
            self._run(
                "INSERT INTO {keyspace}.turn_places (conversation, turn, n) VALUES (?, ?, ?) USING TIMESTAMP ?",
                turn.conversation,
                turn.turn,
                turn.n,
                at_us,
            ),
            self._run(
                "UPDATE {keyspace}.conversations USING TIMESTAMP ? SET tenant = ?, user = ?, active_at = ?"
                " WHERE conversation = ?",
                at_us,
                turn.tenant,
                turn.user,
                _ms(turn.ended_at),
                turn.conversation,
            ),
            self._run(
                "UPDATE {keyspace}.conversations_by_user USING TIMESTAMP ? SET active_at = ?"
                " WHERE tenant = ? AND user = ? AND conversation = ?",
                at_us,
                _ms(turn.ended_at),
                turn.tenant,
                turn.user,
                turn.conversation,
            ),
        )

    async def save_conversation(self, changed: ConversationChanged) -> None:
        """What the record says is what is stored, unless a newer one was. A deleted one is deleted with its turns.

        A retired one is retired for ever, whatever a record says that was made without knowing of it.
        """
        if changed.conversation is None or changed.tenant is None:
            return
        if changed.deleted:
            await self.delete_conversation(changed.conversation, tenant=changed.tenant, user=changed.user)
            return
        at_us = _us(changed.at)
        if changed.retired:
            # The latest of all: with a deletion, which bears the same time, the deletion wins.
            await self._run(
                "UPDATE {keyspace}.conversations USING TIMESTAMP ? SET retired = true WHERE conversation = ?",
                HIGHEST_US,
                changed.conversation,
            )
        await asyncio.gather(
            self._run(
                "INSERT INTO {keyspace}.conversations"
                " (conversation, tenant, user, created_at, metadata, instructions)"
                " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
                changed.conversation,
                changed.tenant,
                changed.user,
                _ms(changed.created_at),
                codec.encode(changed.metadata).decode(),
                changed.instructions,
                at_us,
            ),
            self._run(
                "INSERT INTO {keyspace}.conversations_by_user (tenant, user, conversation, created_at)"
                " VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
                changed.tenant,
                changed.user,
                changed.conversation,
                _ms(changed.created_at),
                at_us,
            ),
        )

    async def reset_conversation(self, conversation: ConversationId, epoch: int) -> None:
        """The context epoch is at least this one.

        The epoch is its own timestamp: the gate counts it up, while the clocks of the gateways that took two resets
        may disagree about which came last.
        """
        statement = "UPDATE {keyspace}.conversations USING TIMESTAMP ? SET epoch = ? WHERE conversation = ?"
        await self._run(statement, epoch, epoch, conversation)

    async def delete_conversation(self, conversation: ConversationId, *, tenant: str, user: str) -> None:
        """Nothing of the conversation is left but the mark that it was deleted, whatever is written later."""
        # The mark first: from here on a reader is told, however far the rest comes.
        await self._run(
            "UPDATE {keyspace}.conversations USING TIMESTAMP ? SET deleted = true WHERE conversation = ?",
            HIGHEST_US + 1,
            conversation,
        )
        await asyncio.gather(
            self._run(
                "DELETE FROM {keyspace}.turns USING TIMESTAMP ? WHERE conversation = ?", HIGHEST_US, conversation
            ),
            self._run(
                "DELETE FROM {keyspace}.turn_places USING TIMESTAMP ? WHERE conversation = ?", HIGHEST_US, conversation
            ),
            self._run(
                "DELETE FROM {keyspace}.conversations USING TIMESTAMP ? WHERE conversation = ?",
                HIGHEST_US,
                conversation,
            ),
            self._run(
                "DELETE FROM {keyspace}.conversations_by_user USING TIMESTAMP ?"
                " WHERE tenant = ? AND user = ? AND conversation = ?",
                HIGHEST_US,
                tenant,
                user,
                conversation,
            ),
        )

    async def redeem_ticket(self, ticket_id: str, ttl_s: int) -> bool:
        """True exactly once per ticket. Not to be repeated: after an unknown outcome the ticket counts as used.

        Args:
            ttl_s: at least as long as the ticket is good for; 1 or more.
        """
        statement = "INSERT INTO {keyspace}.used_tickets (ticket, used) VALUES (?, true) IF NOT EXISTS USING TTL ?"
        rows = await self._store.execute(statement, (ticket_id, max(1, ttl_s)), is_idempotent=False)
        return bool(rows[0][0])

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _run(self, statement: str, *parameters: object) -> list[Row]:
        return await self._store.execute(statement, parameters)

    async def _range(
        self, conversation: ConversationId, bound: str, n: int | None, order: str, limit: int
    ) -> tuple[TurnCompleted, ...]:
        where, bounds = (bound, (n,)) if n is not None else ("", ())
        rows = await self._run(f"{_SELECT_TURNS} {where} {order} LIMIT ?", conversation, *bounds, limit)
        return tuple(_turn(row) for row in rows)


def _cell(turn: TurnCompleted, column: str) -> object:
    if column == "log_topic":
        return turn.log.topic
    if column == "log_partition":
        return turn.log.partition
    value = getattr(turn, column)
    if column in _JSON:
        return codec.encode(value).decode()
    if column == "at" or column.endswith("_at"):
        return None if value is None else _ms(value)
    return value.value if column == "reason" else value


def _turn(row: Row) -> TurnCompleted:
    values = dict(zip(_COLUMNS, row, strict=True))
    for column, kind in _JSON.items():
        values[column] = codec.convert(codec.parse(values[column]), kind)
    for column, value in values.items():
        if isinstance(value, datetime):
            values[column] = _instant(value)
    log = LogAddress(values.pop("log_topic"), values.pop("log_partition"))
    return TurnCompleted(**(values | {"reason": Reason(values["reason"]), "log": log, "stored": True}))


def _us(instant: str) -> int:
    return instants.to_ms(instant) * 1000


def _ms(instant: str) -> int:
    """The driver takes a number as milliseconds since 1970 UTC."""
    return instants.to_ms(instant)


def _instant(value: datetime | None) -> str | None:
    """The driver gives what a 64-bit float keeps of the milliseconds: microseconds are rounded, never cut."""
    return None if value is None else instants.from_ms(round((value - _EPOCH) / timedelta(milliseconds=1)))
