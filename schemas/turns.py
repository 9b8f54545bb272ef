"""Values that travel inside records: what was asked, where its log is, how it may be generated and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from schemas.errors import ErrorCode
from schemas.ids import TurnId

LATEST: Final = "latest"  # `parent` of a request that names none: the last turn before it that did not end at once


class Role(StrEnum):
    """Who speaks. `developer` of OpenAI's dialect is `system`."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Reason(StrEnum):
    """How a turn ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    WITHHELD = "withheld"
    EXPIRED = "expired"
    FAILED = "failed"


class OnBusy(StrEnum):
    """What a turn does when its conversation has an active one."""

    QUEUE = "queue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


class Stage(StrEnum):
    """Where a screen stands: before generation, or between the engine and the log."""

    INPUT = "input"
    OUTPUT = "output"


class Action(StrEnum):
    """What a rule does to the text it matches. `flag` only tells analysts."""

    ALLOW = "allow"
    FLAG = "flag"
    REFUSE = "refuse"
    WITHHOLD = "withhold"


@dataclass(frozen=True, slots=True)
class LogAddress:
    """The Kafka address of a conversation log; the topic's name stands without the prefix."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Source:
    """The record on `inference.<pool>` that brought a turn to its worker."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to generate.

    Args:
        max_tokens: most tokens of the answer; None = as many as the model's length leaves.
        temperature: 0 is greedy; None = the deployment's default. top_p: likewise.
        stop: texts that end the answer; they are not part of it.
        seed: the same seed and prompt give the same answer where the engine can promise it.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """The error of a turn that ended without its answer, as a client sees it."""

    code: ErrorCode
    message: str
    retriable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a screen decided on a text, and by which rule of which version of which policy.

    Args:
        sentence: what a person is told in place of the text; None unless the action stops it.
    """

    stage: Stage
    action: Action
    policy: str | None = None
    policy_version: int | None = None
    rule: str | None = None
    sentence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """What a client asked for, complete: nothing later in the pipeline asks the client or a store again.

    Args:
        user: whose conversation it is. key_id: the key that paid.
        new: True when the conversation is made with this turn, so that nobody looks for its past.
        created_at: when the conversation was made, None = not told: one that is too young to have been forgotten by
            the gate has no past that the gate doesn't know.
        stored: False: not in the store, texts null for analysts, log kept for a day.
        parent: a turn, None = first, LATEST = the one accepted before it.
        history: messages that the client itself gave before its text (a chat completion's list).
        instructions: the request's own; the tenant's and the conversation's come before them.
        deadline_at: past it the turn ends as `expired`.
        client_key: the Idempotency-Key. fingerprint: SHA-256 of what the body means, as hex.
        traceparent: W3C trace context, passed on in every record's header.
    """

    user: str
    key_id: str
    tier: str
    text: str
    log: LogAddress
    accepted_at: str
    deadline_at: str
    new: bool
    stored: bool
    parent: str | None = LATEST
    model: str | None = None
    instructions: str | None = None
    conversation_instructions: str | None = None
    history: tuple[Message, ...] = ()
    options: Options = field(default_factory=Options)
    on_busy: OnBusy = OnBusy.QUEUE
    dialect: str = "responses"
    metadata: Mapping[str, str] = field(default_factory=dict)
    client_key: str | None = None
    fingerprint: str | None = None
    traceparent: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """What was left out of the prompt to fit the model: whole turns, the oldest first."""

    turns: int = 0
    messages: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What TurnCompleted carries beside its flat columns."""

    error: Failure | None = None
    instructions: str | None = None
    options: Options = field(default_factory=Options)
    metadata: Mapping[str, str] = field(default_factory=dict)
    trimmed: Trimmed = field(default_factory=Trimmed)
    refusal: str | None = None
    dialect: str = "responses"
    epoch: int = 0
    client_key: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextTurn:
    """One ended turn as later prompts see it. `texts` are its own messages: given history, the user's, the answer.

    Args:
        log_start: where the fold of what was open at its end begins (DESIGN.md, "Where a reader begins").
        log_end: offset of its taken `turn.ended`. ended_at: when that was written; None in older values.
        log: where both are; None in older values.
    """

    turn: TurnId
    n: int
    parent: TurnId | None
    epoch: int
    reason: Reason
    texts: tuple[Message, ...]
    log_start: int | None
    log_end: int
    ended_at: str | None = None
    log: LogAddress | None = None
