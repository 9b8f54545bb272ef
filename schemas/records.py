"""Every record of the contract's topics as a value. A value is immutable; `schemas.codec` turns it into bytes and back.

Within a version fields are only added, each with a default, so that old bytes stay readable for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.ids import ConversationId, TurnId
from schemas.turns import (
    Action,
    ContextTurn,
    Detail,
    Failure,
    LogAddress,
    Message,
    Options,
    Reason,
    Source,
    Stage,
    Trimmed,
    TurnRequest,
    Verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The envelope that every value begins with.

    Args:
        id: the same for a repeat of the same fact: who counts keeps one per id.
        at: UTC, `Z`, three decimals.
    """

    type: str
    version: int = 1
    id: str
    at: str
    tenant: str | None = None
    conversation: ConversationId | None = None
    turn: TurnId | None = None
    attempt: int | None = None


# --- chat.requests, chat.moderated ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequested(Record):
    """A client's message was accepted: from here on the turn will end, visibly."""

    type: Literal["TurnRequested"] = "TurnRequested"
    request: TurnRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAllowed(Record):
    """The input screen let the text pass."""

    type: Literal["TurnAllowed"] = "TurnAllowed"
    request: TurnRequest
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRefused(Record):
    """The input screen stopped the text: the turn ends as `refused` and costs no token."""

    type: Literal["TurnRefused"] = "TurnRefused"
    request: TurnRequest
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationReset(Record):
    """The conversation's context begins anew; what was said stays readable.

    Args:
        epoch: set by the gate on `chat.turns`: the context epoch that begins here. None on the way there.
    """

    type: Literal["ConversationReset"] = "ConversationReset"
    user: str
    log: LogAddress
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationDeleted(Record):
    """The conversation and all its turns are to be gone."""

    type: Literal["ConversationDeleted"] = "ConversationDeleted"
    user: str
    log: LogAddress


# --- chat.control -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStopRequested(Record):
    """Somebody wants the turn to end. `turn` None: whichever is active in the conversation."""

    type: Literal["TurnStopRequested"] = "TurnStopRequested"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockTicked(Record):
    """Time as an input of the gate: one a second for each partition that somebody owns."""

    type: Literal["ClockTicked"] = "ClockTicked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLoaded(Record):
    """What the store knows of a conversation that the gate had forgotten.

    Args:
        found: False: the store has never heard of it.
        retired: its own topic is gone, or it never had one.
        next_n: place of the next turn. epoch: the present context epoch.
        turns: the newest, oldest first.
    """

    type: Literal["ContextLoaded"] = "ContextLoaded"
    found: bool
    deleted: bool = False
    retired: bool = False
    next_n: int = 1
    epoch: int = 0
    highest_order: int = -1
    turns: tuple[ContextTurn, ...] = ()


# --- conversations.spares ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SpareMade(Record):
    """The own topic of `conversation` exists, and nobody is that conversation yet: whoever takes the record may be."""

    type: Literal["SpareMade"] = "SpareMade"


# --- inference.<pool> -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDispatched(Record):
    """A turn with everything a worker needs; only the gate writes it.

    Args:
        dispatch: 1, 2, ...: higher ones displace lower ones.
        order: offset of its cause in `chat.moderated`.
        place: offset in `log` that lies before every `turn.accepted` of the turn; None = the beginning of an own topic,
            in a lane the offset for `accepted_at` less a margin.
        messages: the prompt, instructions first, the user's text last.
        weight: the tier's share between tenants. priority: band, lower first.
        max_attempts: of a turn under one pool: failures of its engines, and deaths of workers that ran it alone.
        reason: why `closing` is to end it; None in any other pool.
        failures: of engines of this pool, so far.
        discarded_tokens: made by those and never shown.
        fallback_sentence: what is said in place of an answer when there will be none; None = the turn ends as failed.
    """

    type: Literal["TurnDispatched"] = "TurnDispatched"
    dispatch: int
    pool: str
    deployment: str
    model: str
    model_version: str
    log: LogAddress
    place: int | None
    order: int
    n: int
    parent: TurnId | None
    epoch: int
    user: str
    key_id: str
    tier: str
    cost_class: str
    stored: bool
    accepted_at: str
    deadline_at: str
    input_text: str
    messages: tuple[Message, ...]
    options: Options
    prompt_tokens: int
    trimmed: Trimmed = field(default_factory=Trimmed)
    degraded: bool = False
    weight: float = 1.0
    priority: int = 0
    max_attempts: int = 5
    reason: Reason | None = None
    error: Failure | None = None
    instructions: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    dialect: str = "responses"
    interventions: tuple[Verdict, ...] = ()
    client_key: str | None = None
    fingerprint: str | None = None
    traceparent: str | None = None
    failures: int = 0
    discarded_tokens: int = 0
    fallback_sentence: str | None = None


# --- the conversation log (contract, section 4) -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAccepted(Record):
    """The turn has its place in the conversation. `order`: offset of its cause in `chat.moderated`."""

    type: Literal["turn.accepted"] = "turn.accepted"
    order: int
    text: str
    user: str
    parent: TurnId | None
    client_key: str | None
    n: int
    stored: bool = True
    fingerprint: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnQueued(Record):
    """The turn waits. `ahead`: turns before it, in its conversation and its pool; `eta_s`: seconds, None = unknown."""

    type: Literal["turn.queued"] = "turn.queued"
    ahead: int
    eta_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(Record):
    """A worker's claim on the turn under the number `attempt`.

    Args:
        generation: of the group, under which the source's partition was assigned.
        worker: the process that claims, as in WorkerReported; None = not told.
        alone: nothing else is in that worker's engine from here on until the turn leaves it.
    """

    type: Literal["turn.started"] = "turn.started"
    dispatch: int
    source: Source
    generation: int
    model: str
    deployment: str
    degraded: bool
    worker: str | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReleased(Record):
    """A worker has let go of the turn in good order: it lives, and the turn goes on elsewhere.

    Of all its claims up to this `attempt`, be they taken or not: two workers may claim under one number.

    No reader sees it: it only tells a hand-over from a death. A claim that another worker's displaced without it was
    left by a process that died.
    """

    type: Literal["turn.released"] = "turn.released"
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDelta(Record):
    """A piece of released answer text. `text` is exactly what `token_ids` add; `tokens` counts them."""

    type: Literal["turn.delta"] = "turn.delta"
    seq: int
    text: str
    token_ids: tuple[int, ...] = ()
    tokens: int = 0
    channel: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded(Record):
    """The turn's end, with all that TurnCompleted and UsageRecorded need beside the fold of the log.

    Args:
        seq: how many deltas there were.
        withheld_tokens: made and held back by the screen. discarded_tokens: made, then cut off by a stop, or by an
            engine that failed.
        log_start: see ContextTurn.
    """

    type: Literal["turn.ended"] = "turn.ended"
    seq: int
    reason: Reason
    error: Failure | None
    user: str
    key_id: str
    tier: str
    cost_class: str
    pool: str | None
    deployment: str | None
    model: str | None
    model_version: str | None
    accepted_at: str
    prompt_tokens: int
    cached_tokens: int
    withheld_tokens: int
    discarded_tokens: int
    n: int
    parent: TurnId | None
    input_text: str
    interventions: tuple[Verdict, ...]
    degraded: bool
    stored: bool
    log_start: int | None
    detail: Detail


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetLogged(Record):
    """The conversation's context began anew here."""

    type: Literal["conversation.reset"] = "conversation.reset"
    order: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLogged(Record):
    """The own topic is closed: the conversation goes on in its lane. `order` is `fold.CLOSED_ORDER`."""

    type: Literal["conversation.moved"] = "conversation.moved"
    order: int


# --- what analysts read -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageColumns(Record):
    """The flat columns that UsageRecorded and TurnCompleted share. Every number is present; 0 = none."""

    user: str
    key_id: str
    pool: str | None
    deployment: str | None
    model: str | None
    model_version: str | None
    tier: str
    cost_class: str
    reason: Reason
    attempts: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    delivered_tokens: int
    withheld_tokens: int
    regenerated_tokens: int
    discarded_tokens: int
    accepted_at: str
    started_at: str | None
    first_token_at: str | None
    ended_at: str
    queue_ms: int
    ttft_ms: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecorded(UsageColumns):
    """What a turn cost. One per `id`; none for a turn that was never claimed."""

    type: Literal["UsageRecorded"] = "UsageRecorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCompleted(UsageColumns):
    """The whole turn. Texts are None for a turn that is not stored."""

    type: Literal["TurnCompleted"] = "TurnCompleted"
    n: int
    parent: TurnId | None
    input_text: str | None
    output_text: str | None
    interventions: tuple[Verdict, ...]
    degraded: bool
    stored: bool
    log: LogAddress
    log_start: int | None
    log_end: int
    detail: Detail


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReturned(Record):
    """A worker gives a turn back on `chat.turns`: the gate dispatches it again under the next number.

    Args:
        failures: of engines of its pool, so far: more than the dispatch had = this worker's engine has failed.
        shown: something of the answer is in the log.
        worker: who gives it back, as in WorkerReported; None = not told.
        discarded_tokens: made by failed engines and never shown, so far.
    """

    type: Literal["TurnReturned"] = "TurnReturned"
    dispatch: int
    source: Source
    failures: int = 0
    shown: bool = False
    worker: str | None = None
    discarded_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached(Record):
    """A screen decided on a text."""

    type: Literal["VerdictReached"] = "VerdictReached"
    stage: Stage
    action: Action
    policy: str | None
    policy_version: int | None
    rule: str | None


# --- compacted topics -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationChanged(Record):
    """What is known of a conversation apart from its turns.

    Args:
        fingerprint: SHA-256 of the body that made it, as hex, where an idempotency key named it.
    """

    type: Literal["ConversationChanged"] = "ConversationChanged"
    user: str
    created_at: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    instructions: str | None = None
    retired: bool = False
    deleted: bool = False
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChanged(Record):
    """An API key. `hash`: SHA-256 of the whole key as hex; the key itself is nowhere."""

    type: Literal["KeyChanged"] = "KeyChanged"
    key_id: str
    hash: str
    tier: str
    scopes: tuple[str, ...]
    revoked: bool = False
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPublished(Record):
    """A policy came into force, its rules checked before; `policy_version` rises with each publication."""

    type: Literal["PolicyPublished"] = "PolicyPublished"
    policy: str
    policy_version: int
    rules: tuple[Mapping[str, Any], ...]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReported(Record):
    """A worker's state, every second; a leaving one writes a tombstone, a silent one counts as gone after 5 s.

    Args:
        state: starting, ready or draining. slots, running, waiting: turns. kv_usage: 0..1.
        tokens_per_s: generated in the last seconds, over all slots.
        partitions: of the pool's topic that it owns.
    """

    type: Literal["WorkerReported"] = "WorkerReported"
    worker: str
    pool: str
    deployment: str
    model: str
    model_version: str
    engine: str
    state: str
    slots: int
    running: int
    waiting: int
    kv_usage: float
    tokens_per_s: float
    partitions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSet(Record):
    """What a pool serves. `model_path`: directory with the tokenizer and the template, None = the engine's own name."""

    type: Literal["DeploymentSet"] = "DeploymentSet"
    pool: str
    deployment: str
    model: str
    model_version: str
    engine: str
    max_model_len: int
    model_path: str | None = None
    cost_class: str = "standard"
    tiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered(Record):
    """Bytes that could not be read, for a person. `value`: base64 of at most 512 KiB of them."""

    type: Literal["DeadLettered"] = "DeadLettered"
    source: Source
    role: str
    error: str
    place: str
    value: str


LogRecord = TurnAccepted | TurnQueued | TurnStarted | TurnReleased | TurnDelta | TurnEnded | ResetLogged | MovedLogged
"""What stands in a conversation log."""
