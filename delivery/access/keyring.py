"""The keys of `identity.keys` in memory, and who each stands for. Pure."""

import hmac

from schemas import identity
from schemas.errors import Unauthenticated
from schemas.identity import Principal
from schemas.records import KeyChanged


class Keyring:
    """The newest record of each key."""

    def __init__(self) -> None:
        self._keys: dict[str, KeyChanged] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, changed: KeyChanged) -> None:
        """The key is as the record says."""
        self._keys[changed.key_id] = changed

    def drop(self, key_id: str) -> None:
        """The key is forgotten. Idempotent."""
        self._keys.pop(key_id, None)

    def knows(self, key_id: str) -> bool:
        """True for a key that was made and is not revoked."""
        key = self._keys.get(key_id)
        return key is not None and not key.revoked

    def principal(self, text: str) -> Principal:
        """Who the key's text stands for. Raises Unauthenticated for any that isn't a good key."""
        key_id = identity.key_id_of(text)
        key = self._keys.get(key_id) if key_id is not None else None
        if key is None or key.revoked or key.tenant is None:
            raise Unauthenticated("no such key, or it was revoked")
        if not hmac.compare_digest(identity.key_hash(text), key.hash):
            raise Unauthenticated("no such key, or it was revoked")
        return Principal(tenant=key.tenant, key_id=key.key_id, tier=key.tier, scopes=key.scopes)
