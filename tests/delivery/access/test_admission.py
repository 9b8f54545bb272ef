"""Tokens to rights: what is looked up, what is used up, and what can't be told now."""

from dataclasses import replace

import pytest

from delivery.access.admission import Admission, bearer
from delivery.access.keyring import Keyring
from schemas import identity
from schemas.errors import CassandraUnavailable, KafkaUnavailable, Unauthenticated
from schemas.records import KeyChanged
from tests.support import samples

SECRET = "an internal token for tests"
KEY = identity.write_key("k1", "0123456789abcdef")
NOW_MS = 1_000_000


class Desk:
    """An admission over a keyring, a refresh and a store that remember what they did."""

    def __init__(self, *, knows: bool = True) -> None:
        self.keyring = Keyring()
        self.refreshes = 0
        self.used: set[str] = set()
        self.failure: Exception | None = None
        self.arrives: KeyChanged | None = None
        if knows:
            self.keyring.put(self.record())
        self.is_revoked_meanwhile = False
        self.admission = Admission(
            self.keyring, refresh=self.refresh, redeem=self.redeem, secret=SECRET, socket_s=60.0, wall_ms=lambda: NOW_MS
        )

    def record(self) -> KeyChanged:
        record: KeyChanged = samples.sample(KeyChanged)
        return replace(record, key_id="k1", hash=identity.key_hash(KEY), revoked=False)

    async def refresh(self) -> None:
        self.refreshes += 1
        if self.failure is not None:
            raise self.failure
        if self.arrives is not None:
            self.keyring.put(self.arrives)

    async def redeem(self, ticket: str, ttl_s: int) -> bool:
        assert ttl_s > 60
        if self.failure is not None:
            raise self.failure
        if ticket in self.used:
            return False
        self.used.add(ticket)
        if self.is_revoked_meanwhile:
            self.keyring.put(replace(self.record(), revoked=True))
        return True

    def ticket(self, secret: str = SECRET, expires_at_ms: int = NOW_MS + 5000) -> str:
        principal = identity.Principal(tenant="acme", key_id="k1", tier="t", scopes=("read",), user="ada")
        ticket = identity.Ticket(id="t1", principal=principal, expires_at_ms=expires_at_ms)
        return identity.write_ticket(ticket, secret.encode())


async def test_a_key_revoked_while_its_ticket_is_redeemed_opens_nothing() -> None:
    """The store takes its time; a key that is revoked in it opens no socket that nobody would close."""
    desk = Desk()
    desk.is_revoked_meanwhile = True
    with pytest.raises(Unauthenticated):
        await desk.admission.access(desk.ticket())


async def test_who_is_let_in() -> None:
    """A gateway by the shared token, a tenant by its key, a person by a ticket, and for how long."""
    desk = Desk()
    assert (await desk.admission.access(SECRET)).is_internal
    by_key = await desk.admission.access(KEY)
    assert by_key.principal is not None
    assert by_key.expires_at_ms is None
    by_ticket = await desk.admission.access(desk.ticket())
    assert by_ticket.principal is not None
    assert (by_ticket.principal.user, by_ticket.expires_at_ms) == ("ada", NOW_MS + 60_000)
    assert desk.refreshes == 0


async def test_a_key_made_a_moment_ago_is_looked_up() -> None:
    """An unknown key is asked for at the log's end once; a known key with a wrong secret isn't."""
    desk = Desk(knows=False)
    desk.arrives = desk.record()
    assert (await desk.admission.access(KEY)).principal is not None
    assert desk.refreshes == 1
    with pytest.raises(Unauthenticated):
        await desk.admission.access("pk_k1_0123456789abcdeX")
    assert desk.refreshes == 1


async def test_who_is_refused() -> None:
    """Nothing, nonsense, a used, expired or foreign ticket, and one whose key is gone."""
    desk = Desk()
    await desk.admission.access(desk.ticket())
    late, foreign = desk.ticket(expires_at_ms=NOW_MS), desk.ticket(secret="another secret")
    for token in (None, "", "nonsense", desk.ticket(), late, foreign):
        with pytest.raises(Unauthenticated):
            await desk.admission.access(token)
    desk.used.clear()
    desk.keyring.drop("k1")
    with pytest.raises(Unauthenticated):
        await desk.admission.access(desk.ticket())


async def test_what_cannot_be_told_is_no_refusal() -> None:
    """An outage is told as such: the client comes back instead of staying away."""
    desk = Desk(knows=False)
    desk.failure = KafkaUnavailable("away")
    with pytest.raises(KafkaUnavailable):
        await desk.admission.access(KEY)
    desk = Desk()
    desk.failure = CassandraUnavailable("away")
    with pytest.raises(CassandraUnavailable):
        await desk.admission.access(desk.ticket())


def test_the_token_of_a_header() -> None:
    """Only `Bearer`, in any case."""
    assert bearer("Bearer abc ") == "abc"
    assert bearer("bearer abc") == "abc"
    assert bearer("Basic abc") is None
    assert bearer(None) is None
