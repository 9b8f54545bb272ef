"""A turn as a stream of server-sent events, in either dialect."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

from aiohttp import web

from producers.ingress import errors
from producers.relay import answers, server_sent
from producers.relay.answers import Outcome
from producers.relay.chat_view import FINISH, ChatStream
from producers.relay.port import DeliveryUnavailable
from producers.relay.progress import Piece, Progress
from producers.relay.response_view import ResponseStream
from schemas.errors import NotFound
from schemas.records import Record, TurnQueued, TurnStarted

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    # nginx and its kin would hold events back until a buffer is full.
    "X-Accel-Buffering": "no",
}


class Renderer(Protocol):
    """A dialect's stream: what to send for what the log says. Fed once with everything, in order."""

    def begun(self) -> bytes:
        """The turn is durable."""

    def released(self, progress: Progress, pieces: Sequence[Piece]) -> bytes:
        """The log says more; `pieces` were released since the last call."""

    def ended(self, progress: Progress) -> bytes:
        """The turn has ended, and with it the stream."""


class ResponsesRenderer:
    """The events of the Responses dialect."""

    def __init__(self, stream: ResponseStream) -> None:
        self._stream = stream

    def begun(self) -> bytes:
        """Created and queued."""
        return _events(self._stream.accepted())

    def released(self, progress: Progress, pieces: Sequence[Piece]) -> bytes:
        """In progress, and deltas."""
        self._stream.particulars = answers.settled(self._stream.particulars, progress)
        opening = self._stream.started() if progress.started is not None else []
        return _events(opening) + self.pieces(pieces)

    def pieces(self, pieces: Sequence[Piece]) -> bytes:
        """Deltas."""
        return b"".join(_events(self._stream.released(piece)) for piece in pieces)

    def ended(self, progress: Progress) -> bytes:
        """What closes the response."""
        outcome = answers.outcome(progress)
        self._stream.particulars = answers.settled(self._stream.particulars, progress)
        return b"" if outcome is None else self.closed(outcome)

    def closed(self, outcome: Outcome) -> bytes:
        """What closes the response."""
        return _events(self._stream.ended(outcome))


class ChatRenderer:
    """The chunks of a chat completion."""

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream

    def begun(self) -> bytes:
        """Nothing: the first chunk comes with the first text."""
        return b""

    def released(self, progress: Progress, pieces: Sequence[Piece]) -> bytes:
        """Chunks of text."""
        self._stream.particulars = answers.settled(self._stream.particulars, progress)
        return self.pieces(pieces)

    def pieces(self, pieces: Sequence[Piece]) -> bytes:
        """Chunks of text."""
        return b"".join(server_sent.data(chunk) for piece in pieces for chunk in self._stream.released(piece))

    def ended(self, progress: Progress) -> bytes:
        """The last chunks, or the error."""
        outcome = answers.outcome(progress)
        if outcome is None:
            return b""
        return self.closed(outcome)

    def closed(self, outcome: Outcome) -> bytes:
        """The last chunks, or the error."""
        if outcome.reason not in FINISH:
            return server_sent.data(errors.failure_body(outcome.reason, outcome.error))
        return b"".join(map(server_sent.data, self._stream.ended(outcome))) + server_sent.DONE


async def streamed(
    request: web.Request, renderer: Renderer, progress: Progress, updates: AsyncIterator[list[Record]]
) -> web.StreamResponse:
    """Answer with the turn's stream, from what is known of it to its end.

    Args:
        updates: folds into `progress`; an empty list is a silence.

    Raises:
        ConnectionError: the client is gone.
    """
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    sent = len(progress.pieces)
    opening = renderer.begun() + renderer.released(progress, progress.pieces)
    if opening:
        await response.write(opening)
    try:
        async for records in updates:
            pieces, sent = progress.pieces[sent:], len(progress.pieces)
            is_news = bool(pieces) or any(isinstance(record, TurnStarted) for record in records)
            is_wait = not records or any(isinstance(record, TurnQueued) for record in records)
            chunk = renderer.released(progress, pieces) if is_news else server_sent.WAIT if is_wait else b""
            if chunk:
                await response.write(chunk)
        await response.write(renderer.ended(progress))
    except (DeliveryUnavailable, NotFound) as error:
        await response.write(server_sent.data(errors.body_of(error)))
    await response.write_eof()
    return response


async def written(request: web.Request, parts: Sequence[bytes]) -> web.StreamResponse:
    """Answer with a stream that is known whole."""
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    await response.write(b"".join(parts))
    await response.write_eof()
    return response


async def nothing_more() -> AsyncIterator[list[Record]]:
    """The updates of a turn that has ended."""
    none: tuple[list[Record], ...] = ()
    for each in none:
        yield each


def _events(values: list[dict[str, Any]]) -> bytes:
    return b"".join(map(server_sent.event, values))
