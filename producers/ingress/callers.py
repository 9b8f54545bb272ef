"""Who is calling, and what the request's head says: key, user, page of a list, trace."""

import re
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from producers.admission import credentials, limits, parameters
from producers.directory.following import Directory
from schemas import ids
from schemas.errors import CallerError, KafkaUnavailable
from schemas.identity import Principal

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_MOST_LISTED: Final = 100
_LISTED: Final = 20
_MOST_DIGITS: Final = 18  # a number of more is none that we ever gave

ID: Final = web.RequestKey("id", str)
TRACEPARENT: Final = web.RequestKey("traceparent", str)
BROKEN: Final = web.RequestKey("broken", bool)
"""True once the connection is of no more use."""


class Callers:
    """Knows callers by their keys."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def principal(self, request: web.Request, scope: str) -> Principal:
        """Who calls, holding that scope.

        Raises:
            Unauthenticated, Forbidden: and nothing else of the request was looked at.
            KafkaUnavailable: the key isn't known here, and nobody could be asked.
        """
        if not self._directory.has_started:
            raise KafkaUnavailable("the gateway is starting: try again soon")
        key = credentials.bearer(request.headers.get("Authorization"))
        found = credentials.principal_of(key, self._directory.keys.by_hash)
        if found is None and credentials.is_key(key):
            # It may have been made a moment ago.
            await self._directory.refresh_keys()
            found = credentials.principal_of(key, self._directory.keys.by_hash)
        if found is None:
            raise credentials.unknown_key()
        credentials.require(found, scope)
        return found


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is asked for. `after`: an id that the part begins behind."""

    limit: int
    after: str | None
    newest_first: bool


def page(request: web.Request) -> Page:
    """The query's `limit`, `after` and `order`. Raises CallerError."""
    limit = whole(request.query.get("limit", str(_LISTED)))
    if limit is None or not 1 <= limit <= _MOST_LISTED:
        raise CallerError(f"limit must be a whole number from 1 to {_MOST_LISTED}", param="limit")
    order = request.query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise CallerError("order must be asc or desc", param="order")
    return Page(limit, request.query.get("after") or None, order == "desc")


def whole(text: str) -> int | None:
    """The number that these digits are; None when they are none, or too many."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def user(request: web.Request) -> str | None:
    """Whose things are meant, where the query says so. Raises CallerError."""
    text = request.query.get("user")
    if text is not None and not 1 <= len(text) <= ids.MAX_USER_CHARACTERS:
        raise CallerError(f"user must have 1 to {ids.MAX_USER_CHARACTERS} characters", param="user")
    return text


def path_id(request: web.Request, name: str, read: Any) -> Any:
    """The id in the path. Raises CallerError when it has another form."""
    return parameters.named(read, request.match_info[name], name)


async def body(request: web.Request) -> parameters.Parameters:
    """The request's parameters, read no further than the limit. Raises CallerError, TooLarge."""
    return parameters.parsed(await raw_body(request))


async def raw_body(request: web.Request) -> bytes:
    """The request's bytes, read no further than the limit. Raises TooLarge, CallerError."""
    if (request.content_length or 0) > limits.MAX_BODY_BYTES:
        raise limits.body_too_large()
    raw = bytearray()
    try:
        async for chunk in request.content.iter_any():
            raw += chunk
            if len(raw) > limits.MAX_BODY_BYTES:
                raise limits.body_too_large()
    except (web.RequestPayloadError, HttpProcessingError):
        # Nobody knows where the next request begins; and the server must not read on to find out.
        request[BROKEN] = True
        request.content.feed_eof()
        raise CallerError("the body can't be read: it isn't what its headers say") from None
    return bytes(raw)


def traceparent(request: web.Request, entropy: bytes) -> str:
    """The request's trace context, or a new one. `entropy`: 24 random bytes. Source: W3C Trace Context, section 3.2."""
    given = request.headers.get("traceparent", "")
    if _TRACEPARENT.fullmatch(given):
        return given
    return f"00-{entropy[:16].hex()}-{entropy[16:24].hex()}-01"


def request_id(request: web.Request, entropy: bytes) -> str:
    """The request's own id, or a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{entropy[:16].hex()}"
