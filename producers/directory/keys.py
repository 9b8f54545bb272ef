"""The API keys by hash: `identity.keys` in memory. Pure."""

from collections.abc import Mapping
from typing import Final

from schemas.records import KeyChanged


class Keys:
    """The newest KeyChanged of each key."""

    def __init__(self) -> None:
        self._by_id: Final[dict[str, KeyChanged]] = {}
        self._by_hash: Final[dict[str, KeyChanged]] = {}

    @property
    def by_hash(self) -> Mapping[str, KeyChanged]:
        """Every known key, revoked ones too."""
        return self._by_hash

    def put(self, changed: KeyChanged) -> None:
        """The key is as the record says."""
        self.forget(changed.key_id)
        self._by_id[changed.key_id] = changed
        self._by_hash[changed.hash] = changed

    def forget(self, key_id: str) -> None:
        """The key was never there."""
        before = self._by_id.pop(key_id, None)
        if before is not None:
            self._by_hash.pop(before.hash, None)
