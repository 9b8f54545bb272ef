"""The relay over the gateways' internal HTTP: any of them, the next one when one doesn't answer."""

import itertools
import logging
from collections.abc import Sequence
from typing import Final, TypeVar

import aiohttp

from schemas import codec
from schemas.errors import ERRORS, ContractError, ErrorCode
from schemas.frames import Accepted, ErrorFrame, Send, Stop, Stopping
from schemas.handover import SEND_PATH, STOP_PATH, SendHanded, StopHanded
from schemas.identity import Principal

T = TypeVar("T", Accepted, Stopping)

# A gateway answers once Kafka has acknowledged, which its own limit bounds; this only ends a connection that is gone.
_ANSWER_S: Final = 30.0
_CONNECT_S: Final = 2.0
_OK: Final = 200

log = logging.getLogger(__name__)


class HttpRelay:
    """A Relay on aiohttp.

    Args:
        gateways: base URLs of their internal ports.
        token: the internal secret.
    """

    def __init__(self, gateways: Sequence[str], token: str) -> None:
        self._gateways = tuple(url.rstrip("/") for url in gateways)
        self._turns = itertools.count()
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Be able to ask; no gateway is met yet."""
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S),
        )

    async def stop_asking(self) -> None:
        """Let go of the connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, principal: Principal, send: Send) -> Accepted | ErrorFrame:
        """The gateway's answer; `unavailable` when none could be asked."""
        # Without a key of the client's a second gateway could make a second turn of a send whose answer was lost.
        return await self._ask(
            SEND_PATH,
            SendHanded(principal=principal, send=send),
            Accepted,
            send.ref,
            is_repeatable=send.idempotency_key is not None,
        )

    async def stop(self, principal: Principal, stop: Stop) -> Stopping | ErrorFrame:
        """The gateway's answer; `unavailable` when none could be asked."""
        return await self._ask(
            STOP_PATH, StopHanded(principal=principal, stop=stop), Stopping, stop.ref, is_repeatable=True
        )

    async def _ask(
        self, path: str, handed: object, kind: type[T], ref: str | int | None, *, is_repeatable: bool
    ) -> T | ErrorFrame:
        body = codec.encode(handed)
        first = next(self._turns)
        for number in range(len(self._gateways)):
            url = self._gateways[(first + number) % len(self._gateways)]
            try:
                return await self._post(url + path, body, kind, ref)
            except aiohttp.ClientConnectorError as error:
                log.warning("gateway %s: %s", url, error)  # nothing was said to it yet
            except (aiohttp.ClientError, TimeoutError, ContractError) as error:
                log.warning("gateway %s: %s", url, error)
                if not is_repeatable:
                    break
        return _unavailable(ref)

    async def _post(self, url: str, body: bytes, kind: type[T], ref: str | int | None) -> T | ErrorFrame:
        session = self._session
        if session is None:
            return _unavailable(ref)
        async with session.post(url, data=body) as response:
            value = codec.parse(await response.read())
            if not isinstance(value, dict):
                raise ContractError("a gateway answered something that is no frame")
            value["ref"] = ref
            return codec.convert(value, kind) if response.status == _OK else codec.convert(value, ErrorFrame)


def _unavailable(ref: str | int | None) -> ErrorFrame:
    code = ErrorCode.UNAVAILABLE
    return ErrorFrame(ref=ref, code=code, message="no gateway answers: try again", retriable=ERRORS[code].retriable)
