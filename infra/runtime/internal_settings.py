"""The `[internal]` section: what services of one installation share."""

from dataclasses import dataclass, field
from typing import Final

# 16 characters are 64 bits even as hex: no one guesses that over a network.
_LEAST_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalSettings:
    """The `[internal]` section: what services of one installation share."""

    token: str = field(
        metadata={"doc": "secret by which gateway and delivery know each other, and that signs tickets", "secret": True}
    )

    def __post_init__(self) -> None:
        """Refuse a secret that can be guessed."""
        if len(self.token) < _LEAST_CHARACTERS:
            raise ValueError(f"token: must have at least {_LEAST_CHARACTERS} characters")
