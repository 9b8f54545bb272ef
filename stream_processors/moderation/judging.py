"""What becomes of one record of `chat.requests`: a pure function of its bytes, the policies in force and the time."""

import base64
from dataclasses import dataclass
from typing import Final

from schemas import codec, ids, topics
from schemas.errors import ContractError
from schemas.records import (
    ConversationDeleted,
    ConversationReset,
    DeadLettered,
    Record,
    TurnAllowed,
    TurnRefused,
    TurnRequested,
)
from schemas.turns import Source, Stage, TurnRequest, Verdict
from stream_processors.moderation.policy import PolicySet
from stream_processors.moderation.screen import Judged, judge
from stream_processors.moderation.verdicts import allowed, reached

ROLE: Final = "moderation"
MAX_DEAD_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """A record to append, in the order given."""

    topic: str
    record: Record
    trace: str | None = None
    """`traceparent` of the turn, for a record that carries none."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a record leads to.

    Args:
        verdicts: to be counted; empty for what isn't a turn.
    """

    outputs: tuple[Output, ...]
    verdicts: tuple[Verdict, ...] = ()


def judgement(value: bytes | None, source: Source, policies: PolicySet, at: str) -> Judgement:
    """What this record leads to; never nothing: what can't be read goes to `dead.letters`.

    Args:
        at: the time that the new records bear.
    """
    try:
        record = _read(value)
    except ContractError as error:
        return Judgement((dead_letter(value, source, at, error=str(error), place=error.place),))
    if isinstance(record, TurnRequested):
        return _judged(record, policies, at)
    return Judgement((Output(topics.MODERATED, record),))


def dead_letter(value: bytes | None, source: Source, at: str, *, error: str, place: str = "") -> Output:
    """The record's bytes for a person, with where they lie and what is wrong."""
    letter = DeadLettered(
        id=f"{ROLE}.{source.topic}.{source.partition}.{source.offset}",
        at=at,
        source=source,
        role=ROLE,
        error=error,
        place=place,
        value=base64.b64encode((value or b"")[:MAX_DEAD_BYTES]).decode(),
    )
    return Output(topics.DEAD_LETTERS, letter)


def texts_of(request: TurnRequest) -> tuple[str, ...]:
    """All that the client wrote: its text, and what it gave to be read before it."""
    before = (message.text for message in request.history)
    given = (request.conversation_instructions, request.instructions)
    return (request.text, *before, *(text for text in given if text))


def _read(value: bytes | None) -> Record:
    if value is None:
        raise ContractError("a record without a value", place="$")
    record = codec.decode(value)
    if not isinstance(record, TurnRequested | ConversationReset | ConversationDeleted):
        raise ContractError(f"{record.type} does not belong on {topics.REQUESTS}", place="$.type")
    if record.tenant is None:
        raise ContractError("expected a tenant", place="$.tenant")
    conversation = ids.parse_conversation(record.conversation or "")
    if isinstance(record, TurnRequested) and ids.conversation_of(ids.parse_turn(record.turn or "")) != conversation:
        raise ContractError("the turn is not of this conversation", place="$.turn")
    return record


def _judged(record: TurnRequested, policies: PolicySet, at: str) -> Judgement:
    judged = _judge_all(record, policies)
    verdict = judged.verdict or next(iter(judged.flags), allowed(Stage.INPUT))
    kind = TurnAllowed if judged.verdict is None else TurnRefused
    moderated = kind(
        id=f"{record.turn}.moderated",
        at=at,
        tenant=record.tenant,
        conversation=record.conversation,
        turn=record.turn,
        attempt=record.attempt,
        request=record.request,
        verdict=verdict,
    )
    told = tuple(dict.fromkeys((verdict, *judged.flags)))
    verdicts = (reached(each, of=record, at=at) for each in told)
    trace = record.request.traceparent
    return Judgement(
        (Output(topics.MODERATED, moderated), *(Output(topics.VERDICTS, each, trace) for each in verdicts)),
        verdicts=told,
    )


def _judge_all(record: TurnRequested, policies: PolicySet) -> Judged:
    flags: dict[Verdict, None] = {}
    for text in texts_of(record.request):
        judged = judge(policies, Stage.INPUT, record.tenant, text, record.request.tier)
        flags |= dict.fromkeys(judged.flags)
        if judged.verdict is not None:
            return Judged(judged.verdict, tuple(flags))
    return Judged(None, tuple(flags))
