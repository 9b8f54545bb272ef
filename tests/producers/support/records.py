"""Records of a turn as gate and worker write them, short to say."""

from schemas.ids import TurnId
from schemas.records import TurnAccepted, TurnDelta, TurnEnded, TurnQueued, TurnRequested, TurnStarted
from schemas.turns import Detail, Failure, Reason, Source

MODEL = "tiny-test"


def accepted(requested: TurnRequested, *, order: int = 0, n: int = 1) -> TurnAccepted:
    request = requested.request
    return TurnAccepted(
        id=f"{requested.turn}.accepted", at=request.accepted_at, tenant=requested.tenant,
        conversation=requested.conversation, turn=requested.turn, attempt=0, order=order, text=request.text,
        user=request.user, parent=None if request.parent == "latest" else TurnId(request.parent or "") or None,
        client_key=request.client_key, n=n, stored=request.stored, fingerprint=request.fingerprint,
        metadata=request.metadata,
    )  # fmt: skip


def queued(requested: TurnRequested, ahead: int = 1) -> TurnQueued:
    return TurnQueued(
        id=f"{requested.turn}.queued.{ahead}", at=requested.at, tenant=requested.tenant,
        conversation=requested.conversation, turn=requested.turn, attempt=0, ahead=ahead, eta_s=1.0,
    )  # fmt: skip


def started(requested: TurnRequested, attempt: int = 1) -> TurnStarted:
    return TurnStarted(
        id=f"{requested.turn}.{attempt}.started", at=requested.at, tenant=requested.tenant,
        conversation=requested.conversation, turn=requested.turn, attempt=attempt, dispatch=1,
        source=Source("inference.default", 0, 0), generation=1, model=MODEL, deployment="d", degraded=False,
    )  # fmt: skip


def delta(requested: TurnRequested, seq: int, text: str, attempt: int = 1, channel: str = "text") -> TurnDelta:
    return TurnDelta(
        id=f"{requested.turn}.{attempt}.{seq}", at=requested.at, tenant=requested.tenant,
        conversation=requested.conversation, turn=requested.turn, attempt=attempt, seq=seq, text=text,
        token_ids=(seq,), tokens=1, channel=channel,
    )  # fmt: skip


def ended(
    requested: TurnRequested,
    seq: int,
    reason: Reason = Reason.STOP,
    *,
    attempt: int = 1,
    n: int = 1,
    error: Failure | None = None,
    refusal: str | None = None,
    log_start: int | None = None,
) -> TurnEnded:
    request = requested.request
    return TurnEnded(
        id=f"{requested.turn}.{attempt}.ended", at=requested.at, tenant=requested.tenant,
        conversation=requested.conversation, turn=requested.turn, attempt=attempt, seq=seq, reason=reason, error=error,
        user=request.user, key_id=request.key_id, tier=request.tier, cost_class="standard", pool="default",
        deployment="d", model=MODEL if attempt else None, model_version="1", accepted_at=request.accepted_at,
        prompt_tokens=7 if attempt else 0, cached_tokens=2 if attempt else 0, withheld_tokens=0, discarded_tokens=0,
        n=n, parent=None if request.parent == "latest" else TurnId(request.parent or "") or None,
        input_text=request.text, interventions=(), degraded=False, stored=request.stored, log_start=log_start,
        detail=Detail(
            error=error, instructions=request.instructions, options=request.options, metadata=request.metadata,
            refusal=refusal, dialect=request.dialect, client_key=request.client_key, fingerprint=request.fingerprint,
        ),
    )  # fmt: skip
