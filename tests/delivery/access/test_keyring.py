"""Keys and whom they stand for."""

from dataclasses import replace

import pytest

from delivery.access.keyring import Keyring
from schemas import identity
from schemas.errors import Unauthenticated
from schemas.records import KeyChanged
from tests.support import samples

KEY = identity.write_key("k1", "0123456789abcdef")


def changed(**more: object) -> KeyChanged:
    """The key's record."""
    record: KeyChanged = samples.sample(KeyChanged)
    plain = {"key_id": "k1", "hash": identity.key_hash(KEY), "revoked": False, "scopes": ("read",)}
    return replace(record, **(plain | more))  # type: ignore[arg-type]


def test_a_good_key_is_somebody() -> None:
    """The key stands for its tenant, tier and scopes, for every user of it."""
    keyring = Keyring()
    keyring.put(changed())
    principal = keyring.principal(KEY)
    assert (principal.tenant, principal.key_id, principal.scopes, principal.user) == ("acme", "k1", ("read",), None)
    assert keyring.knows("k1")
    assert len(keyring) == 1


@pytest.mark.parametrize("text", ["", "pk_k1_0123456789abcdeX", "pk_k2_0123456789abcdef", "nonsense", KEY + " "])
def test_any_other_text_is_nobody(text: str) -> None:
    """A wrong secret, an unknown id and what is no key look alike."""
    keyring = Keyring()
    keyring.put(changed())
    with pytest.raises(Unauthenticated):
        keyring.principal(text)


def test_a_revoked_or_forgotten_key_is_nobody() -> None:
    """Whoever held it is refused from the record on."""
    keyring = Keyring()
    for is_revoked in (True, False):
        keyring.put(changed())
        if is_revoked:
            keyring.put(changed(revoked=True))
        else:
            keyring.drop("k1")
        assert not keyring.knows("k1")
        with pytest.raises(Unauthenticated):
            keyring.principal(KEY)
