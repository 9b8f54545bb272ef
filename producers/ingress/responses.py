"""`/v1/responses` and below."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from infra.runtime.logs import bound
from producers.admission import responses
from producers.admission.asks import Ask
from producers.admission.turns import checked_key
from producers.directory.following import Directory
from producers.ingress import callers, errors, turn_answers
from producers.ingress.callers import TRACEPARENT, Callers
from producers.ingress.relaying import Relays
from producers.ingress.streaming import ResponsesRenderer, nothing_more, streamed, written
from producers.ingress.turn_answers import Shown
from producers.publishing.acceptance import Acceptance, Admission
from producers.relay import answers
from producers.relay.answers import Particulars
from producers.relay.port import DeliveryUnavailable
from producers.relay.progress import Progress
from producers.relay.response_view import QUEUED, ResponseStream, input_item, listed, response
from producers.relay.turn_reader import Found, TurnReader
from schemas import identity, ids
from schemas.errors import ERRORS, CallerError, ContractError, NotFound, UnsupportedParameter
from schemas.identity import Principal
from schemas.ids import TurnId
from schemas.records import ConversationChanged, TurnCompleted

_SERVER_FAULT: Final = 500
_FIRST_DELTA: Final = 5
# A stop takes effect within a step of the engine, a queued turn's within the gate; what takes longer is told as it is.
_STOP_SEEN_S: Final = 5.0


class Responses:
    """Makes, shows, streams and stops responses.

    Args:
        answer_s: how long a whole answer is waited for.
    """

    def __init__(
        self,
        who: Callers,
        acceptance: Acceptance,
        directory: Directory,
        reader: TurnReader,
        relays: Relays,
        *,
        answer_s: float,
    ) -> None:
        self._callers = who
        self._acceptance = acceptance
        self._directory = directory
        self._reader = reader
        self._relays = relays
        self._answer_s = answer_s

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served."""
        return (
            web.post("/v1/responses", self.create),
            web.get("/v1/responses/{response_id}", self.retrieve),
            web.post("/v1/responses/{response_id}/cancel", self.cancel),
            web.get("/v1/responses/{response_id}/input_items", self.input_items),
        )

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer an input."""
        principal = await self._callers.principal(request, identity.WRITE)
        ask = responses.ask(await callers.body(request))
        key = checked_key(request.headers.get("Idempotency-Key"))
        admission = await self._acceptance.admit(ask, principal, key, request[TRACEPARENT])
        with bound(turn=admission.turn, conversation=admission.conversation):
            if admission.found is not None and admission.found.row is not None:
                return await self._again(request, ask, admission.found.row)
            if ask.is_background and not ask.is_stream:
                return await self._queued(request, admission)
            return await self._relayed(request, ask, admission)

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Show a response, or its stream from an event on."""
        principal, known, turn = await self._named(request, identity.READ)
        after = _starting_after(request)
        found = await self._found(known, turn)
        if after is None:
            return errors.json_answer(self._response(turn_answers.of_found(found, self._model(principal))))
        shown = turn_answers.of_found(found, self._model(principal))
        with bound(turn=turn):
            return await self._streamed(request, known, found, shown, after)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Stop a response and show it; one that has ended stays as it is."""
        principal, known, turn = await self._named(request, identity.WRITE)
        found = await self._found(known, turn)
        shown = turn_answers.of_found(found, self._model(principal))
        if shown.outcome is None:
            await self._acceptance.stop(str(known.tenant), ids.conversation_of(turn), turn)
            shown = await self._stopped(known, found, shown, self._model(principal))
        return errors.json_answer(self._response(shown))

    async def input_items(self, request: web.Request) -> web.StreamResponse:
        """List what the response answers: the user's message."""
        _, known, turn = await self._named(request, identity.READ)
        page = callers.page(request)
        shown = turn_answers.of_found(await self._found(known, turn), "")
        item = input_item(shown.particulars, shown.question)
        return errors.json_answer(listed([] if page.after == item["id"] else [item], has_more=False))

    # --- making -------------------------------------------------------------------------------------------------------

    async def _queued(self, request: web.Request, admission: Admission) -> web.Response:
        """Accept a turn whose answer is fetched later: nobody has to follow it."""
        await asyncio.shield(self._relays.committed(request, admission))
        if admission.found is not None:
            return errors.json_answer(self._response(turn_answers.of_found(admission.found, admission.model)))
        return errors.json_answer(response(turn_answers.of_admission(admission, is_background=True), QUEUED))

    async def _relayed(self, request: web.Request, ask: Ask, admission: Admission) -> web.StreamResponse:
        particulars = turn_answers.of_admission(admission, is_background=ask.is_background)
        async with self._relays.accepted(request, admission) as reading:
            if admission.is_keyed:
                await reading.agree(admission)
            if ask.is_stream:
                renderer = ResponsesRenderer(ResponseStream(particulars))
                return await streamed(request, renderer, reading.progress, reading.updates())
            await reading.until_ended(self._answer_s)
            return _whole(request, reading.progress, particulars)

    async def _again(self, request: web.Request, ask: Ask, row: TurnCompleted) -> web.StreamResponse:
        """The answer that was given before, under the same key."""
        shown = turn_answers.of_row(row, "")
        if ask.is_stream:
            return await self._streamed(request, None, Found(row=row), shown, -1)
        return errors.json_answer(self._response(shown))

    # --- showing ------------------------------------------------------------------------------------------------------

    async def _named(self, request: web.Request, scope: str) -> tuple[Principal, ConversationChanged, TurnId]:
        principal = await self._callers.principal(request, scope)
        text = request.match_info["response_id"]
        try:
            turn = ids.parse_turn(text)
            known = await self._acceptance.visible(principal, ids.conversation_of(turn), callers.user(request))
        except (ContractError, NotFound):
            raise NotFound(f"there is no response {text[:100]}") from None
        return principal, known, turn

    async def _found(self, known: ConversationChanged, turn: TurnId) -> Found:
        found = await self._reader.find(known, turn)
        if found is None:
            raise NotFound(f"there is no response {turn}")
        return found

    def _model(self, principal: Principal) -> str:
        """What to call the model of a turn that nobody has started."""
        served = self._directory.deployments.models(principal.tier)
        return served[0].model if served else ""

    def _response(self, shown: Shown) -> dict[str, object]:
        return response(shown.particulars, shown.status, shown.text, shown.outcome)

    async def _streamed(
        self, request: web.Request, known: ConversationChanged | None, found: Found, shown: Shown, after: int
    ) -> web.StreamResponse:
        stream = ResponseStream(shown.particulars, after=after)
        renderer = ResponsesRenderer(stream)
        progress = found.progress
        if found.row is not None:
            progress = await self._reader.replayed(found.row)
            if progress is None:
                return await written(request, _without_log(renderer, stream, shown, after))
        if progress is not None and progress.ended is not None:
            return await streamed(request, renderer, progress, nothing_more())
        if known is None:
            raise DeliveryUnavailable("a stored turn has ended")
        progress = progress or Progress(shown.particulars.turn)
        async with self._relays.followed(progress, self._reader.address(known)) as reading:
            return await streamed(request, renderer, reading.progress, reading.updates())

    async def _stopped(self, known: ConversationChanged, found: Found, shown: Shown, model: str) -> Shown:
        """The turn once it has ended, or as far as it is when that takes long."""
        progress = found.progress or Progress(shown.particulars.turn)
        try:
            async with self._relays.followed(progress, self._reader.address(known)) as reading:
                await reading.until_ended(_STOP_SEEN_S)
        except DeliveryUnavailable:
            return shown
        return turn_answers.of_progress(progress, model)


def _whole(request: web.Request, progress: Progress, particulars: Particulars) -> web.Response:
    outcome = answers.outcome(progress)
    if outcome is None:
        raise DeliveryUnavailable(f"{progress.turn} has not ended")
    if outcome.error is not None and ERRORS[outcome.error.code].status < _SERVER_FAULT:
        # The request was at fault: a client learns that from the status.
        return errors.failed_turn(outcome.reason, outcome.error, request, progress.wait_s)
    return errors.json_answer(response(answers.settled(particulars, progress), QUEUED, progress.text, outcome))


def _without_log(renderer: ResponsesRenderer, stream: ResponseStream, shown: Shown, after: int) -> list[bytes]:
    """The stream of a turn whose log is gone: its text in one piece, or what closes it for who had seen some."""
    parts = [renderer.begun()]
    if after >= _FIRST_DELTA:
        stream.forgotten(shown.pieces)
    else:
        parts.append(renderer.pieces(shown.pieces))
    return parts if shown.outcome is None else [*parts, renderer.closed(shown.outcome)]


def _starting_after(request: web.Request) -> int | None:
    """The event to go on behind; -1 from the beginning; None when no stream is asked for. Raises CallerError."""
    wants_stream = request.query.get("stream", "false")
    if wants_stream not in ("true", "false"):
        raise CallerError("stream must be true or false", param="stream")
    for name in request.query:
        if name.startswith("include") and request.query[name] not in ("", "false"):
            raise UnsupportedParameter(f"{name} is not supported: leave it out", param=name)
    text = request.query.get("starting_after")
    if wants_stream == "false":
        if text is not None:
            raise CallerError("starting_after needs stream=true", param="starting_after")
        return None
    after = -1 if text is None else callers.whole(text)
    if after is None:
        raise CallerError("starting_after must be a sequence number", param="starting_after")
    return after
