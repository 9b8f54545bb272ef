"""Who a connection is: a gateway by the internal token, a key of `identity.keys`, or a ticket that is good once."""

import hmac
from collections.abc import Awaitable, Callable

from delivery.access.keyring import Keyring
from delivery.protocol.access import Access
from schemas import identity
from schemas.errors import Unauthenticated

Redeem = Callable[[str, int], Awaitable[bool]]
"""Ticket id and seconds to remember it; True exactly once. May raise CassandraUnavailable."""


class Admission:
    """Turns a token into rights.

    Args:
        keyring: kept up to date by its owner.
        refresh: brings the keyring up to date now: a key may have been made a moment ago.
        redeem: marks a ticket as used.
        secret: the internal token.
        socket_s: how long a socket that a ticket opened lives until it must be renewed.
        wall_ms: the clock.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        refresh: Callable[[], Awaitable[None]],
        redeem: Redeem,
        secret: str,
        socket_s: float,
        wall_ms: Callable[[], int],
    ) -> None:
        self._keyring = keyring
        self._refresh = refresh
        self._redeem = redeem
        self._secret = secret
        self._socket_s = socket_s
        self._wall_ms = wall_ms

    async def access(self, token: str | None) -> Access:
        """The rights of this token.

        Raises:
            Unauthenticated: none, or not a good one.
            DependencyError: whether it is good can't be told now.
        """
        if not token:
            raise Unauthenticated("give a key in the Authorization header or a ticket as `?ticket=`")
        if hmac.compare_digest(token.encode(), self._secret.encode()):
            return Access(principal=None)
        if identity.is_ticket(token):
            return await self._by_ticket(token)
        return await self._by_key(token)

    async def _by_key(self, token: str) -> Access:
        try:
            return Access(principal=self._keyring.principal(token))
        except Unauthenticated:
            key_id = identity.key_id_of(token)
            if key_id is None or self._keyring.knows(key_id):
                raise
        await self._refresh()
        return Access(principal=self._keyring.principal(token))

    async def _by_ticket(self, token: str) -> Access:
        now_ms = self._wall_ms()
        ticket = identity.read_ticket(token, self._secret.encode(), now_ms)
        if not self._keyring.knows(ticket.principal.key_id):
            await self._refresh()
            if not self._keyring.knows(ticket.principal.key_id):
                raise Unauthenticated("the ticket's key was revoked")
        left_s = (ticket.expires_at_ms - now_ms) // 1000 + 60  # clocks of two nodes may differ
        if not await self._redeem(ticket.id, left_s):
            raise Unauthenticated("the ticket was used before: ask POST /v1/tickets for a new one")
        # Who ends a revoked key's sockets doesn't see one that is still being let in.
        if not self._keyring.knows(ticket.principal.key_id):
            raise Unauthenticated("the ticket's key was revoked")
        return Access(principal=ticket.principal, expires_at_ms=now_ms + int(self._socket_s * 1000))


def bearer(header: str | None) -> str | None:
    """The token of an Authorization header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
