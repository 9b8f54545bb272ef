"""The opening handshake, and a server protocol that closes by our codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import MultipleValuesError
from websockets.frames import CloseCode as WireCode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from delivery.access import origins
from delivery.access.admission import bearer
from schemas.frames import SUBPROTOCOL, CloseCode

PATH: Final = "/v1/stream"

# What a client that speaks our protocol never does; it must not come back and do it again.
_BROKEN: Final = frozenset({WireCode.PROTOCOL_ERROR, WireCode.INVALID_DATA, WireCode.MESSAGE_TOO_BIG})


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A request that became a WebSocket. `token`: a key, a ticket or the internal token; None = none was given."""

    response: Response
    token: str | None


class StreamProtocol(ServerProtocol):
    """websockets' sans-I/O core; compression is never negotiated (DESIGN.md, "Compression").

    Args:
        max_bytes: of one message.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=max_bytes)

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """Ours if it is offered; a client that offers none is served alike."""
        return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in subprotocols else None

    def fail(self, code: WireCode | int, reason: str = "") -> None:
        """Fail the connection; what broke the protocol is told by 4500 (contract, section 6)."""
        super().fail(CloseCode.BAD_FRAME if code in _BROKEN else code, reason)


def answer(protocol: StreamProtocol, request: Request, allowed_origins: Sequence[str]) -> Upgraded:
    """The answer to an opening handshake: 101, or why not."""
    url = urlsplit(request.path)
    if url.path != PATH:
        return Upgraded(protocol.reject(404, f"The stream is at {PATH}.\n"), None)
    try:
        origin, host = request.headers.get("Origin"), request.headers.get("Host")
        authorization = request.headers.get("Authorization")
    except MultipleValuesError as error:
        return Upgraded(protocol.reject(400, f"One header {error} is enough.\n"), None)
    if not origins.is_allowed(origin, host, allowed_origins):
        return Upgraded(protocol.reject(403, "Pages of this origin may not open a stream here.\n"), None)
    ticket = parse_qs(url.query).get("ticket", [None])[0]
    return Upgraded(protocol.accept(request), bearer(authorization) or ticket)
