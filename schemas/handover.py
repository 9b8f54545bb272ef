"""What delivery hands to a gateway on its internal port: admission lives in the gateway alone.

`POST /internal/send` takes SendHanded and answers a frame `accepted`; `POST /internal/stop` takes StopHanded and
answers `stopping`. A refusal is a frame `error` under its code's HTTP status. Both want the header
`Authorization: Bearer <internal token>`.
"""

from dataclasses import dataclass
from typing import Final

from schemas.frames import Send, Stop
from schemas.identity import Principal

SEND_PATH: Final = "/internal/send"
STOP_PATH: Final = "/internal/stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendHanded:
    """A reader's `send`, on behalf of its principal."""

    principal: Principal
    send: Send
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopHanded:
    """A reader's `stop`, on behalf of its principal."""

    principal: Principal
    stop: Stop
