"""What a connection may do, as the admission room found it."""

from dataclasses import dataclass

from schemas.identity import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rights of one connection.

    Args:
        principal: on whose behalf it acts; None for a gateway, which reads what it is asked to and never sends.
        expires_at_ms: when it must have been renewed; None = never.
    """

    principal: Principal | None
    expires_at_ms: int | None = None

    @property
    def is_internal(self) -> bool:
        """True for a gateway."""
        return self.principal is None
