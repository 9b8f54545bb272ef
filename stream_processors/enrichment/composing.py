"""Effects in the language of the log: every record that the gate writes is made here, from a turn and its request."""

from dataclasses import dataclass, replace

from infra.runtime.band_settings import BandSettings
from schemas import fold, instants
from schemas.errors import ERRORS
from schemas.ids import ConversationId, TurnId
from schemas.records import (
    ConversationChanged,
    ConversationDeleted,
    ConversationReset,
    DeploymentSet,
    MovedLogged,
    ResetLogged,
    TurnAccepted,
    TurnAllowed,
    TurnDispatched,
    TurnEnded,
    TurnQueued,
    TurnRefused,
    TurnStopRequested,
)
from schemas.topics import CLOSING_POOL
from schemas.trimming import fitted
from schemas.turns import Action, Detail, Failure, LogAddress, Reason, Trimmed, Verdict
from stream_processors.enrichment.effects import AppendQueued, AppendReset, RequestStop
from stream_processors.enrichment.prompt import Prompt
from stream_processors.enrichment.state import OpenTurn, State

Request = TurnAllowed | TurnRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What every record of a conversation says about it, at one moment."""

    conversation: ConversationId
    tenant: str | None
    user: str
    log: LogAddress
    stored: bool
    at: str


def scene(state: State, log: LogAddress, now_ms: int) -> Scene:
    """The conversation now."""
    return Scene(
        conversation=state.conversation,
        tenant=state.tenant,
        user=state.user,
        log=log,
        stored=state.stored,
        at=instants.from_ms(now_ms),
    )


def accepted(here: Scene, turn: OpenTurn, request: Request) -> TurnAccepted:
    """The turn has its place."""
    asked = request.request
    return TurnAccepted(
        id=f"{turn.turn}.accepted",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        turn=turn.turn,
        order=turn.order,
        text=asked.text,
        user=asked.user,
        parent=_parent(turn),
        client_key=asked.client_key,
        n=turn.n,
        stored=asked.stored,
        fingerprint=asked.fingerprint,
        metadata=asked.metadata,
    )


def queued(here: Scene, effect: AppendQueued) -> TurnQueued:
    """The turn waits."""
    return TurnQueued(
        id=f"{effect.turn.turn}.queued.{instants.to_ms(here.at)}",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        turn=effect.turn.turn,
        ahead=effect.ahead,
        eta_s=effect.eta_s,
    )


def ended(here: Scene, turn: OpenTurn, request: Request) -> TurnEnded:
    """The gate's own end, attempt 0: nothing was generated, nothing is owed."""
    asked = request.request
    reason = turn.reason or Reason.FAILED
    return TurnEnded(
        id=f"{turn.turn}.0.ended",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        turn=turn.turn,
        attempt=0,
        seq=0,
        reason=reason,
        error=_failure(turn),
        user=asked.user,
        key_id=asked.key_id,
        tier=asked.tier,
        cost_class="standard",
        pool=None,
        deployment=None,
        model=asked.model,
        model_version=None,
        accepted_at=asked.accepted_at,
        prompt_tokens=0,
        cached_tokens=0,
        withheld_tokens=0,
        discarded_tokens=0,
        n=turn.n,
        parent=_parent(turn),
        input_text=asked.text,
        interventions=_interventions(request),
        degraded=False,
        stored=asked.stored,
        log_start=turn.place,
        detail=_detail(turn, request),
    )


def _detail(turn: OpenTurn, request: Request) -> Detail:
    asked = request.request
    detail = Detail(
        error=_failure(turn),
        instructions=asked.instructions,
        options=asked.options,
        metadata=asked.metadata,
        refusal=request.verdict.sentence if turn.reason is Reason.REFUSED else None,
        dialect=asked.dialect,
        epoch=turn.epoch,
        client_key=asked.client_key,
        fingerprint=asked.fingerprint,
    )
    return fitted(detail, asked.text)


def dispatched(
    here: Scene,
    turn: OpenTurn,
    request: Request,
    *,
    prompt: Prompt | None,
    deployment: DeploymentSet | None,
    band: BandSettings,
    fallback_sentence: str | None = None,
) -> TurnDispatched:
    """The turn for its worker.

    Args:
        prompt: None for `closing`, which reads none.
        deployment: None for `closing`, or when it is gone: the pool's name is all that is known then.
        fallback_sentence: of the pool that the turn was meant for.
    """
    asked = request.request
    pool = turn.pool or CLOSING_POOL
    options = asked.options if prompt is None else replace(asked.options, max_tokens=prompt.max_tokens)
    return TurnDispatched(
        id=f"{turn.turn}.dispatch.{turn.dispatch}",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        turn=turn.turn,
        dispatch=turn.dispatch,
        pool=pool,
        deployment=turn.deployment or pool,
        model=deployment.model if deployment is not None else asked.model or pool,
        model_version=deployment.model_version if deployment is not None else "",
        log=here.log,
        place=turn.place,
        order=turn.order,
        n=turn.n,
        parent=_parent(turn),
        epoch=turn.epoch,
        user=asked.user,
        key_id=asked.key_id,
        tier=asked.tier,
        cost_class=deployment.cost_class if deployment is not None else "standard",
        stored=asked.stored,
        accepted_at=asked.accepted_at,
        deadline_at=asked.deadline_at,
        input_text=asked.text,
        messages=() if prompt is None else prompt.messages,
        options=options,
        prompt_tokens=0 if prompt is None else prompt.tokens,
        trimmed=Trimmed() if prompt is None else prompt.trimmed,
        degraded=turn.is_degraded,
        weight=band.weight,
        priority=band.priority,
        max_attempts=band.max_attempts,
        reason=turn.reason if pool == CLOSING_POOL else None,
        error=_failure(turn),
        instructions=asked.instructions,
        metadata=asked.metadata,
        dialect=asked.dialect,
        interventions=_interventions(request),
        client_key=asked.client_key,
        fingerprint=asked.fingerprint,
        traceparent=asked.traceparent,
        failures=turn.failures,
        discarded_tokens=turn.discarded_tokens,
        fallback_sentence=fallback_sentence,
    )


def stop_requested(here: Scene, effect: RequestStop) -> TurnStopRequested:
    """The named turn is to end."""
    return TurnStopRequested(
        id=f"{effect.turn}.stop.{instants.to_ms(here.at)}",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        turn=effect.turn,
    )


def reset_logged(here: Scene, effect: AppendReset) -> ResetLogged:
    """The context begins anew here, for readers of the log."""
    return ResetLogged(
        id=f"{here.conversation}.reset.{effect.order}",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        order=effect.order,
    )


def moved_logged(here: Scene) -> MovedLogged:
    """The own topic is closed, for its readers."""
    return MovedLogged(
        id=f"{here.conversation}.moved",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        order=fold.CLOSED_ORDER,
    )


def reset_announced(here: Scene, effect: AppendReset) -> ConversationReset:
    """The context begins anew, for the store."""
    return ConversationReset(
        id=f"{here.conversation}.reset.{effect.epoch}",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        user=here.user,
        log=here.log,
        epoch=effect.epoch,
    )


def deleted(here: Scene) -> ConversationDeleted:
    """The conversation is over."""
    return ConversationDeleted(
        id=f"{here.conversation}.deleted",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        user=here.user,
        log=here.log,
    )


def directory_deleted(here: Scene) -> ConversationChanged:
    """The directory forgets what the conversation was."""
    return ConversationChanged(
        id=f"{here.conversation}.changed.{instants.to_ms(here.at)}",
        at=here.at,
        tenant=here.tenant,
        conversation=here.conversation,
        user=here.user,
        created_at=here.at,
        deleted=True,
    )


def _parent(turn: OpenTurn) -> TurnId | None:
    return None if turn.parent is None else TurnId(turn.parent)


def _failure(turn: OpenTurn) -> Failure | None:
    if turn.code is None:
        return None
    return Failure(turn.code, turn.message or "", ERRORS[turn.code].retriable)


def _interventions(request: Request) -> tuple[Verdict, ...]:
    return () if request.verdict.action is Action.ALLOW else (request.verdict,)
