"""Who asks: the principal that a key or a ticket stands for, and the forms of both, alike in gateway and delivery.

A key is `pk_<key id>_<secret>`; only its SHA-256 is kept. A ticket is `pt_<claims>.<HMAC-SHA-256>`, both in unpadded
base64url: good once, for a minute, and for no more than its claims.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from typing import Final

from schemas import codec
from schemas.errors import ContractError, Unauthenticated
from schemas.ids import ConversationId

READ: Final = "read"  # see conversations, turns and models
WRITE: Final = "write"  # make, change and delete them; send and stop
ADMIN: Final = "admin"  # the tenant's policies
SCOPES: Final = (READ, WRITE, ADMIN)

DEFAULT_USER: Final = "default"  # whose conversation it is when a request names nobody

_KEY: Final = re.compile(r"pk_([a-z0-9-]{1,48})_([A-Za-z0-9_-]{16,128})")
_TICKET_PREFIX: Final = "pt_"
_MAX_TICKET_CHARACTERS: Final = 8192  # 100 conversations of 37 characters in base64, and room


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """On whose behalf a request acts.

    Args:
        key_id: the key that pays, also behind a ticket.
        user: None = the whole tenant; else only this user's conversations.
        conversations: None = any; else only these.
    """

    tenant: str
    key_id: str
    tier: str
    scopes: tuple[str, ...]
    user: str | None = None
    conversations: tuple[ConversationId, ...] | None = None

    def may(self, scope: str) -> bool:
        """True when the scope was granted."""
        return scope in self.scopes

    def reaches(self, conversation: ConversationId, *, tenant: str, user: str) -> bool:
        """True when this conversation, of that tenant and user, exists for the principal; else it looks like none."""
        return (
            tenant == self.tenant
            and self.user in (None, user)
            and (self.conversations is None or conversation in self.conversations)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The claims of a ticket. `id` is what a store remembers to make it single use."""

    id: str
    principal: Principal
    expires_at_ms: int


def key_hash(key: str) -> str:
    """What `identity.keys` holds of a key: SHA-256 of the whole text, as hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def write_key(key_id: str, secret: str) -> str:
    """The key's text, to be shown once."""
    return f"pk_{key_id}_{secret}"


def key_id_of(key: str) -> str | None:
    """The id inside a key's text; None when it can't be a key of ours."""
    matched = _KEY.fullmatch(key)
    return matched[1] if matched else None


def is_ticket(text: str) -> bool:
    """True when the text claims to be a ticket; only `read_ticket` says whether it is one."""
    return text.startswith(_TICKET_PREFIX)


def write_ticket(ticket: Ticket, secret: bytes) -> str:
    """The ticket's text, signed with the secret that gateways and delivery share."""
    body = _base64(codec.encode(ticket))
    return f"{_TICKET_PREFIX}{body}.{_signature(body, secret)}"


def read_ticket(text: str, secret: bytes, now_ms: int) -> Ticket:
    """The ticket in this text; whether it was used before is for a store to say. Raises Unauthenticated."""
    body, _, signature = text.removeprefix(_TICKET_PREFIX).partition(".")
    try:
        if len(text) > _MAX_TICKET_CHARACTERS or not is_ticket(text):
            raise ContractError("not a ticket")
        if not hmac.compare_digest(_signature(body, secret).encode(), signature.encode()):
            raise ContractError("not signed by us")
        ticket = codec.convert(codec.parse(_unbase64(body)), Ticket)
    except (ContractError, binascii.Error, ValueError):
        raise Unauthenticated("this is no ticket of ours: ask POST /v1/tickets for one") from None
    if ticket.expires_at_ms <= now_ms:
        raise Unauthenticated("the ticket has expired: ask POST /v1/tickets for a new one")
    return ticket


def narrowed(
    principal: Principal,
    *,
    user: str | None,
    conversations: tuple[ConversationId, ...] | None,
    scopes: tuple[str, ...] | None,
) -> Principal:
    """The principal with less: None leaves a side as it is; scopes that it doesn't have are not gained."""
    return replace(
        principal,
        user=principal.user if user is None else user,
        conversations=principal.conversations if conversations is None else conversations,
        scopes=principal.scopes if scopes is None else tuple(each for each in scopes if each in principal.scopes),
    )


def _signature(body: str, secret: bytes) -> str:
    # Over the text, not the bytes in it: several texts of base64 stand for the same bytes.
    return _base64(hmac.new(secret, f"parley ticket\0{body}".encode(), hashlib.sha256).digest())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
