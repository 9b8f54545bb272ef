"""What delivery hands over on the internal port: `send` and `stop`. Answered in frames, as the reader will see them."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from infra.runtime.clock import Clock
from infra.runtime.logs import bound
from producers.admission import credentials, sending
from producers.admission.parameters import named
from producers.admission.turns import checked_key
from producers.ingress import callers, errors
from producers.publishing.acceptance import Acceptance
from schemas import codec, identity, ids
from schemas.errors import CallerError, NotFound, ParleyError, Unauthenticated
from schemas.frames import Accepted, ErrorFrame, Stopping
from schemas.handover import SEND_PATH, STOP_PATH, SendHanded, StopHanded
from schemas.ids import ConversationId, TurnId

T = TypeVar("T")
_TRACE_BYTES = 24


@dataclass(frozen=True, slots=True)
class _Stopped:
    conversation: ConversationId
    turn: TurnId | None


class Handed:
    """Takes what delivery hands over.

    Args:
        token: that services share.
    """

    def __init__(self, acceptance: Acceptance, clock: Clock, token: str) -> None:
        self._acceptance = acceptance
        self._clock = clock
        self._token = token.encode()

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served."""
        return (web.post(SEND_PATH, self.send), web.post(STOP_PATH, self.stop))

    async def send(self, request: web.Request) -> web.Response:
        """Accept a turn."""
        ref: str | int | None = None
        try:
            handed = await self._handed(request, SendHanded)
            ref = handed.send.ref
            return errors.json_answer(await self._accepted(handed))
        except ParleyError as error:
            return _refused(error, ref)

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a turn."""
        ref: str | int | None = None
        try:
            handed = await self._handed(request, StopHanded)
            ref = handed.stop.ref
            credentials.require(handed.principal, identity.WRITE)
            stopped = _named(handed)
            known = await self._acceptance.visible(handed.principal, stopped.conversation, None)
            await self._acceptance.stop(str(known.tenant), stopped.conversation, stopped.turn)
            return errors.json_answer(Stopping(ref=ref, turn=stopped.turn, conversation=stopped.conversation))
        except ParleyError as error:
            return _refused(error, ref)

    async def _accepted(self, handed: SendHanded) -> Accepted:
        credentials.require(handed.principal, identity.WRITE)
        ask = sending.ask(handed.send)
        if ask.conversation is None and handed.principal.conversations is not None:
            raise NotFound("these credentials are for certain conversations: name one", param="conversation")
        trace = handed.traceparent or _trace(self._clock.entropy(_TRACE_BYTES))
        key = checked_key(handed.send.idempotency_key)
        admission = await self._acceptance.admit(ask, handed.principal, key, trace)
        with bound(turn=admission.turn, conversation=admission.conversation, trace_id=trace[3:35]):
            await self._acceptance.commit(admission)
        return Accepted(ref=handed.send.ref, conversation=admission.conversation, turn=admission.turn)

    async def _handed(self, request: web.Request, kind: type[T]) -> T:
        token = credentials.bearer(request.headers.get("Authorization"))
        if not hmac.compare_digest(token.encode(), self._token):
            raise Unauthenticated("this is not the internal token")
        return codec.convert(codec.parse(await callers.raw_body(request)), kind)


def _named(handed: StopHanded) -> _Stopped:
    if handed.stop.turn is not None:
        turn: TurnId = named(ids.parse_turn, handed.stop.turn, "turn")
        return _Stopped(ids.conversation_of(turn), turn)
    if handed.stop.conversation is None:
        raise CallerError("stop names a turn or a conversation", param="turn")
    return _Stopped(named(ids.parse_conversation, handed.stop.conversation, "conversation"), None)


def _refused(error: ParleyError, ref: str | int | None) -> web.Response:
    frame = ErrorFrame(code=error.code, message=str(error), retriable=error.row.retriable, ref=ref)
    return errors.json_answer(frame, error.row.status)


def _trace(entropy: bytes) -> str:
    return f"00-{entropy[:16].hex()}-{entropy[16:].hex()}-01"
