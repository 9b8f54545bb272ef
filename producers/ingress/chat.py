"""`/v1/chat/completions`."""

from collections.abc import Sequence

from aiohttp import web

from infra.runtime.logs import bound
from producers.admission import chat
from producers.admission.turns import checked_key
from producers.ingress import callers, errors, turn_answers
from producers.ingress.callers import TRACEPARENT, Callers
from producers.ingress.relaying import Relays
from producers.ingress.streaming import ChatRenderer, streamed, written
from producers.publishing.acceptance import Acceptance
from producers.relay import answers
from producers.relay.answers import Particulars
from producers.relay.chat_view import FINISH, ChatStream, completion
from producers.relay.port import DeliveryUnavailable
from producers.relay.progress import Progress
from schemas import identity
from schemas.records import TurnCompleted


class ChatCompletions:
    """Each completion is one turn of a conversation of its own.

    Args:
        answer_s: how long a whole answer is waited for.
    """

    def __init__(self, who: Callers, acceptance: Acceptance, relays: Relays, *, answer_s: float) -> None:
        self._callers = who
        self._acceptance = acceptance
        self._relays = relays
        self._answer_s = answer_s

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served."""
        return (web.post("/v1/chat/completions", self.create),)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer a list of messages."""
        principal = await self._callers.principal(request, identity.WRITE)
        ask = chat.ask(await callers.body(request))
        key = checked_key(request.headers.get("Idempotency-Key"))
        admission = await self._acceptance.admit(ask, principal, key, request[TRACEPARENT])
        particulars = turn_answers.of_admission(admission, is_background=False)
        stream = ChatStream(particulars, includes_usage=ask.includes_usage)
        with bound(turn=admission.turn, conversation=admission.conversation):
            if admission.found is not None and admission.found.row is not None:
                return await _again(request, admission.found.row, stream if ask.is_stream else None)
            async with self._relays.accepted(request, admission) as reading:
                if admission.is_keyed:
                    await reading.agree(admission)
                if ask.is_stream:
                    return await streamed(request, ChatRenderer(stream), reading.progress, reading.updates())
                await reading.until_ended(self._answer_s)
                return _whole(request, reading.progress, particulars)


def _whole(request: web.Request, progress: Progress, particulars: Particulars) -> web.Response:
    outcome = answers.outcome(progress)
    if outcome is None:
        raise DeliveryUnavailable(f"{progress.turn} has not ended")
    if outcome.reason not in FINISH:
        return errors.failed_turn(outcome.reason, outcome.error, request, progress.wait_s)
    return errors.json_answer(completion(answers.settled(particulars, progress), progress.text, outcome))


async def _again(request: web.Request, row: TurnCompleted, stream: ChatStream | None) -> web.StreamResponse:
    """The answer that was given before, under the same key."""
    shown = turn_answers.of_row(row, "")
    if shown.outcome is None:
        raise DeliveryUnavailable("a stored turn has ended")
    if stream is not None:
        renderer = ChatRenderer(stream)
        return await written(request, [renderer.pieces(shown.pieces), renderer.closed(shown.outcome)])
    if shown.outcome.reason not in FINISH:
        return errors.failed_turn(shown.outcome.reason, shown.outcome.error, request)
    return errors.json_answer(completion(shown.particulars, shown.text, shown.outcome))
