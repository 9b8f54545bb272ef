"""`POST /v1/tickets`: what a browser opens its WebSocket with, in place of a key."""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from infra.runtime.clock import Clock
from producers.admission.parameters import Parameters, named
from producers.ingress import callers, errors
from producers.ingress.callers import Callers
from producers.publishing.acceptance import Acceptance
from schemas import identity, ids
from schemas.errors import CallerError, Forbidden
from schemas.identity import Principal, Ticket
from schemas.ids import ConversationId

# Names, and addresses of either kind: it goes into a header of the chat page.
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_ID_BYTES: Final = 16
_MOST_CONVERSATIONS: Final = 100
_ASKED_BY: Final = frozenset({"user", "safety_identifier", "conversations", "scopes"})


class Tickets:
    """Signs tickets: good once, for `ticket_s` seconds, for no more than the key and no more than was asked.

    Args:
        secret: shared with delivery.
        stream_url: given to clients; None = the host they came to, at `stream_port`.
        stream_port: None = the port of `node`.
        node: base URL of a delivery node.
    """

    def __init__(
        self,
        who: Callers,
        acceptance: Acceptance,
        clock: Clock,
        *,
        secret: str,
        ticket_s: float,
        stream_url: str | None,
        stream_port: int | None = None,
        node: str,
    ) -> None:
        self._callers = who
        self._acceptance = acceptance
        self._clock = clock
        self._secret = secret.encode()
        self._ticket_s = ticket_s
        self._stream_url = stream_url
        self._node = urlsplit(node)
        self._port = self._node.port if stream_port is None else stream_port

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served."""
        return (web.post("/v1/tickets", self.create),)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Sign a ticket."""
        principal = await self._callers.principal(request, identity.READ)
        parameters = await callers.body(request)
        parameters.refuse_others(_ASKED_BY, {}, frozenset())
        narrow = await self._narrowed(principal, parameters)
        expires_at_ms = self._clock.wall_ms() + int(self._ticket_s * 1000)
        ticket = Ticket(id=self._clock.entropy(_ID_BYTES).hex(), principal=narrow, expires_at_ms=expires_at_ms)
        return errors.json_answer(
            {
                "object": "ticket",
                "ticket": identity.write_ticket(ticket, self._secret),
                "url": self.stream_url(request),
                "expires_at": expires_at_ms // 1000,
            }
        )

    def stream_url(self, request: web.Request) -> str:
        """Where this caller finds delivery."""
        if self._stream_url is not None:
            return self._stream_url
        host = _hostname(request.host) or self._node.hostname or ""
        scheme = "wss" if request.secure else "ws"
        place = f"[{host}]" if ":" in host else host
        return f"{scheme}://{place}{'' if self._port is None else f':{self._port}'}/v1/stream"

    async def _narrowed(self, principal: Principal, parameters: Parameters) -> Principal:
        user = parameters.user()
        if principal.user is not None and user not in (None, principal.user):
            raise Forbidden("the credentials are another user's", param="user")
        scopes = _texts(parameters, "scopes")
        for scope in scopes or ():
            if scope not in identity.SCOPES:
                raise CallerError(f"scopes are {', '.join(identity.SCOPES)}", param="scopes")
            if not principal.may(scope):
                raise Forbidden(f"the key lacks the scope `{scope}`", param="scopes")
        conversations = await self._conversations(principal, parameters, user)
        return identity.narrowed(principal, user=user, conversations=conversations, scopes=scopes)

    async def _conversations(
        self, principal: Principal, parameters: Parameters, user: str | None
    ) -> tuple[ConversationId, ...] | None:
        texts = _texts(parameters, "conversations")
        if texts is None:
            return None
        if len(texts) > _MOST_CONVERSATIONS:
            raise CallerError(f"a ticket names at most {_MOST_CONVERSATIONS} conversations", param="conversations")
        found: tuple[ConversationId, ...] = tuple(
            named(ids.parse_conversation, text, "conversations") for text in texts
        )
        for conversation in found:
            await self._acceptance.visible(principal, conversation, user)
        return found


def _hostname(host: str) -> str | None:
    """The name in a Host header, without its port; None when it is none."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name if name is not None and _HOSTNAME.fullmatch(name) else None


def _texts(parameters: Parameters, name: str) -> tuple[str, ...] | None:
    value: Any = parameters.given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise CallerError(f"{name} must be a list of strings", param=name)
    return tuple(value)
