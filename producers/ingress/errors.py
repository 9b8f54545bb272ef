"""Errors as OpenAI's clients know them: the body, the status, and whether to come back."""

import math
from typing import Any, Final

from aiohttp import web

from producers.relay.port import DeliveryUnavailable
from schemas import codec
from schemas.errors import ERRORS, CallerError, ErrorCode, ErrorRow, ParleyError
from schemas.turns import Failure, Reason

# Where nothing better is known: brokers and nodes are looked for again within a second.
RETRY_AFTER_S: Final = 1
_LONGEST_RETRY_S: Final = 600
_COME_BACK: Final = frozenset({429, 503})
_OK: Final = 200
_RETRIED_BY_CLIENTS: Final = frozenset({408, 409, 429})
_SERVER_FAULT: Final = 500

SENT: Final = web.RequestKey("sent", bool)
"""True once a turn may have been accepted under a random id: the same request again would make a second one."""

JSON: Final = "application/json"


def body(message: str, kind: str, code: ErrorCode | None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": None if code is None else code.value}}


def body_of(error: ParleyError) -> dict[str, Any]:
    """The body for an error of ours."""
    param = error.param if isinstance(error, CallerError) else None
    return body(str(error), error.row.kind, error.code, param)


def answer(error: ParleyError, request: web.Request, *, status: int | None = None) -> web.Response:
    """The whole answer for an error of ours."""
    wait_s = error.retry_after_s if isinstance(error, DeliveryUnavailable) else None
    return _answered(status or error.row.status, body_of(error), error.row, request, wait_s)


def failed_turn(
    reason: Reason, failure: Failure | None, request: web.Request, wait_s: float | None = None
) -> web.Response:
    """The whole answer for a turn that expired or failed: an error, and no turn is made by asking again unasked.

    Args:
        wait_s: how long the turn was told to wait; None = it never was.
    """
    _code, row = code_of(reason, failure)
    return _answered(row.status, failure_body(reason, failure), ErrorRow(row.status, row.kind, False), request, wait_s)


def failure_body(reason: Reason, failure: Failure | None) -> dict[str, Any]:
    """The body for a turn that expired or failed."""
    code, row = code_of(reason, failure)
    message = failure.message if failure is not None else "the turn has failed"
    return body(message, row.kind, code)


def code_of(reason: Reason, failure: Failure | None) -> tuple[ErrorCode, ErrorRow]:
    """The code of a turn that expired or failed, and its row: an expired one is 503, whatever else was said of it."""
    fallback = ErrorCode.DEADLINE if reason is Reason.EXPIRED else ErrorCode.ENGINE_FAILED
    code = failure.code if failure is not None else fallback
    row = ERRORS[code]
    if reason is Reason.EXPIRED or row.status == _OK:
        return code, ERRORS[fallback]
    return code, row


def internal(request: web.Request) -> web.Response:
    """The whole answer for a fault of ours that nobody foresaw."""
    row = ErrorRow(_SERVER_FAULT, "server_error", True)
    return _answered(row.status, body("something went wrong here", row.kind, None), row, request)


def json_answer(value: Any, status: int = _OK) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=codec.encode(value), content_type=JSON)


def _answered(
    status: int, value: dict[str, Any], row: ErrorRow, request: web.Request, wait_s: float | None = None
) -> web.Response:
    response = json_answer(value, status)
    if status in _RETRIED_BY_CLIENTS or status >= _SERVER_FAULT:
        is_safe = row.retriable and not request.get(SENT, False)
        response.headers["x-should-retry"] = "true" if is_safe else "false"
    # When a person may come back is one thing, whether a program should by itself is another.
    if status in _COME_BACK or ("x-should-retry" in response.headers and row.retriable):
        response.headers["Retry-After"] = str(_seconds(wait_s))
    return response


def _seconds(wait_s: float | None) -> int:
    return RETRY_AFTER_S if wait_s is None else min(max(math.ceil(wait_s), RETRY_AFTER_S), _LONGEST_RETRY_S)
