from dataclasses import replace

from producers.directory.keys import Keys
from schemas.records import KeyChanged
from tests.producers.support.asked import AT

KEY = KeyChanged(id="key-1", at=AT, tenant="acme", key_id="k1", hash="h1", tier="standard", scopes=("read",))


def test_a_key_is_found_by_its_hash() -> None:
    """The newest record of a key counts, under its present hash alone."""
    keys = Keys()
    keys.put(KEY)
    keys.put(replace(KEY, hash="h2", revoked=True))
    assert set(keys.by_hash) == {"h2"}
    assert keys.by_hash["h2"].revoked


def test_a_tombstone_forgets() -> None:
    """A forgotten key is nobody's."""
    keys = Keys()
    keys.put(KEY)
    keys.forget("k1")
    keys.forget("k1")
    assert keys.by_hash == {}
