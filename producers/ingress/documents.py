"""`/asyncapi.json`: the WebSocket protocol as a document, public, for this caller's own address of delivery."""

from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from producers.ingress import errors
from schemas import asyncapi

# Viewers on other origins may load it: it holds nothing of anybody's.
_FOR_ALL: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}


class Documents:
    """Serves what describes the service.

    Args:
        stream_url: where this caller finds delivery.
    """

    def __init__(self, stream_url: Callable[[web.Request], str]) -> None:
        self._stream_url = stream_url

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served."""
        return (web.get("/asyncapi.json", self.asyncapi),)

    async def asyncapi(self, request: web.Request) -> web.StreamResponse:
        """Show the WebSocket protocol."""
        answer = errors.json_answer(asyncapi.document(self._stream_url(request)))
        answer.headers.update(_FOR_ALL)
        return answer
