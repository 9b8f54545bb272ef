"""Where `send` and `stop` go: admission lives in the gateway alone."""

from typing import Protocol

from schemas.errors import ErrorCode
from schemas.frames import Accepted, ErrorFrame, Send, Stop, Stopping
from schemas.identity import Principal

__all__ = ["Accepted", "ErrorCode", "ErrorFrame", "Relay", "Stopping"]


class Relay(Protocol):
    """Hands a client's words to a gateway. A repeat of a send with an idempotency key is the same turn."""

    async def send(self, principal: Principal, send: Send) -> Accepted | ErrorFrame:
        """The gateway's answer; `unavailable` when none could be asked."""

    async def stop(self, principal: Principal, stop: Stop) -> Stopping | ErrorFrame:
        """The gateway's answer; `unavailable` when none could be asked."""
