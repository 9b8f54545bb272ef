"""The HTTP server below the routes: what it refuses by itself has the same form as every other error."""

import logging
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from infra.runtime.clock import SYSTEM
from producers.ingress import errors
from schemas.errors import ErrorCode

_ENTROPY_BYTES: Final = 16
_BAD_REQUEST: Final = 400
_SERVER_FAULT: Final = 500
_KIND: Final = "invalid_request_error"

log = logging.getLogger(__name__)


class Runner(web.AppRunner):
    """Runs an application whose connections speak of broken HTTP as OpenAI's clients expect it."""

    async def _make_server(self) -> web.Server:
        # aiohttp has no public way to choose the connection's class.
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,  # noqa: SLF001 - see above
        )


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = _SERVER_FAULT,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - tells the parser's own view of the bytes
    ) -> web.StreamResponse:
        """Answer what never came to a route, or failed outside of one. Ends the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        response = errors.json_answer(_told(status, exc), _BAD_REQUEST if status < _SERVER_FAULT else _SERVER_FAULT)
        response.headers["x-request-id"] = f"req_{SYSTEM.entropy(_ENTROPY_BYTES).hex()}"
        response.force_close()
        return response


def _told(status: int, exc: BaseException | None) -> dict[str, Any]:
    if status >= _SERVER_FAULT:
        log.error("a request has failed outside every route", exc_info=exc)
        return errors.body("something went wrong here", "server_error", None)
    log.info("a request can't be read: %s", type(exc).__name__)
    if isinstance(exc, LineTooLong):
        return errors.body("a line of the request's head is too long", _KIND, ErrorCode.INVALID_REQUEST)
    return errors.body("the request is not well-formed HTTP", _KIND, ErrorCode.INVALID_REQUEST)
