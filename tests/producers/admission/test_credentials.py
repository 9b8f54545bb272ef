from dataclasses import replace

import pytest

from producers.admission import credentials
from schemas import identity
from schemas.errors import Forbidden, Unauthenticated
from schemas.records import KeyChanged

KEY = identity.write_key("k1", "s" * 32)
RECORD = KeyChanged(
    id="key-k1", at="2026-01-31T12:00:00.000Z", tenant="acme", key_id="k1", hash=identity.key_hash(KEY),
    tier="gold", scopes=("read",),
)  # fmt: skip


def test_a_known_key_is_its_tenants() -> None:
    """A key stands for its tenant, tier and scopes; a stranger's is nobody's."""
    found = credentials.principal_of(KEY, {RECORD.hash: RECORD})
    assert found is not None
    assert (found.tenant, found.tier, found.scopes, found.user) == ("acme", "gold", ("read",), None)
    assert credentials.principal_of(f"{KEY}x", {RECORD.hash: RECORD}) is None


def test_a_revoked_key_is_refused() -> None:
    """A revoked key is told apart from an unknown one."""
    revoked = replace(RECORD, revoked=True)
    with pytest.raises(Unauthenticated):
        credentials.principal_of(KEY, {RECORD.hash: revoked})


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic eDp5", KEY])
def test_a_header_without_a_key(header: str | None) -> None:
    """Whatever isn't a bearer's credential is no key at all."""
    with pytest.raises(Unauthenticated):
        credentials.bearer(header)


def test_a_missing_scope() -> None:
    """A right that wasn't granted is forbidden, by name."""
    found = credentials.principal_of(KEY, {RECORD.hash: RECORD})
    assert found is not None
    credentials.require(found, "read")
    with pytest.raises(Forbidden, match="write"):
        credentials.require(found, "write")
