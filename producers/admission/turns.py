"""From an Ask to the record that makes it durable: ids, fingerprint, deadline. Time and chance come as arguments."""

from dataclasses import dataclass

from producers.admission import limits
from producers.admission.asks import Ask
from schemas import ids, instants
from schemas.errors import CallerError
from schemas.identity import Principal
from schemas.ids import ConversationId, TurnId
from schemas.records import TurnRequested
from schemas.turns import LogAddress, TurnRequest


@dataclass(frozen=True, slots=True)
class OwnIds:
    """The hex digits that are a request's own, before its conversation is known.

    Args:
        turn_hex: the turn's own 32.
        conversation_hex: a new conversation's 32, if it comes to that; None = any free one.
    """

    turn_hex: str
    conversation_hex: str | None


def checked_key(header: str | None) -> str | None:
    """The Idempotency-Key, None when there is none. Raises CallerError."""
    if header is None:
        return None
    is_printable = header.isascii() and header.isprintable()
    if not is_printable or not 1 <= len(header) <= limits.MAX_KEY_CHARACTERS:
        raise CallerError(
            f"Idempotency-Key must have 1 to {limits.MAX_KEY_CHARACTERS} printable ASCII characters",
            param="Idempotency-Key",
        )
    return header


def own_ids(tenant: str, key: str | None, at_ms: int, entropy: bytes) -> OwnIds:
    """New ids, or the ones that the key gave this request for ever.

    Args:
        entropy: 10 random bytes.
    """
    if key is None:
        return OwnIds(ids.uuid7_hex(at_ms, entropy), None)
    return OwnIds(*ids.keyed_hexes(tenant, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Where a turn goes, once its conversation is known.

    Args:
        is_new: the conversation is made with this turn.
        instructions: the conversation's own, None = none.
        created_at: when the conversation was made, None = with this turn.
    """

    turn: TurnId
    conversation: ConversationId
    log: LogAddress
    user: str
    is_new: bool
    instructions: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """When and how the request came."""

    at_ms: int
    deadline_s: float
    client_key: str | None = None
    traceparent: str | None = None


def requested(ask: Ask, principal: Principal, place: Placing, arrival: Arrival) -> TurnRequested:
    """The record that accepts the turn once Kafka has acknowledged it. Raises TooLarge."""
    limits.check_together(ask.text, ask.instructions, metadata=ask.metadata)
    accepted_at = instants.from_ms(arrival.at_ms)
    deadline_s = min(ask.deadline_s or arrival.deadline_s, limits.MAX_DEADLINE_S)
    return TurnRequested(
        id=f"{place.turn}.requested",
        at=accepted_at,
        tenant=principal.tenant,
        conversation=place.conversation,
        turn=place.turn,
        request=TurnRequest(
            user=place.user,
            key_id=principal.key_id,
            tier=principal.tier,
            text=ask.text,
            log=place.log,
            accepted_at=accepted_at,
            deadline_at=instants.from_ms(arrival.at_ms + int(deadline_s * 1000)),
            new=place.is_new,
            stored=ask.stored,
            parent=None if place.is_new and ask.previous is None else ask.parent,
            model=ask.model,
            instructions=ask.instructions,
            conversation_instructions=place.instructions,
            history=ask.history,
            options=ask.options,
            on_busy=ask.on_busy,
            dialect=ask.dialect.value,
            metadata=ask.metadata,
            client_key=arrival.client_key,
            fingerprint=ask.fingerprint,
            traceparent=arrival.traceparent,
            created_at=place.created_at,
        ),
    )
