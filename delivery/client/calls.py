"""Frames that wait for their answer: said once, or again after a cut where that changes nothing. No socket."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from delivery.client.reading import Refused
from schemas.errors import DependencyError


class NotAnswered(DependencyError):
    """No answer came in time. A message may have been accepted all the same: repeat it under the same key."""


@dataclass(slots=True)
class _Call:
    frame: object
    answer: "asyncio.Future[Mapping[str, Any]]"
    is_repeatable: bool
    is_said: bool


class Calls:
    """The calls of one client, by their `ref`.

    Args:
        say: sends a frame; False: there is no connection now.
        answer_s: until a call is given up, connected or not.
    """

    def __init__(self, say: Callable[[object], bool], answer_s: float) -> None:
        self._say = say
        self._answer_s = answer_s
        self._calls: dict[str, _Call] = {}

    async def ask(self, frame: Any, *, is_repeatable: bool) -> Mapping[str, Any]:
        """Say the frame and return what answers it.

        Args:
            is_repeatable: said twice it is done once.

        Raises:
            Refused: by the server, or the connection was lost and the frame can't be said again.
            NotAnswered: in time.
        """
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._calls[frame.ref] = _Call(frame, answer, is_repeatable, self._say(frame))
        try:
            async with asyncio.timeout(self._answer_s):
                return await answer
        except TimeoutError:
            raise NotAnswered(f"no answer to `{frame.type}` within {self._answer_s:g} s") from None
        finally:
            del self._calls[frame.ref]

    def say_all(self) -> None:
        """There is a new connection: say what has no answer yet, in order."""
        for call in self._calls.values():
            call.is_said = self._say(call.frame)

    def lost(self) -> None:
        """The connection is gone: what was said and can't be repeated is given up."""
        for call in self._calls.values():
            if call.is_said and not call.is_repeatable:
                _settle(call, Refused("unavailable", "the connection was lost before the answer", retriable=True))

    def answer(self, ref: object, answer: Mapping[str, Any] | Exception) -> None:
        """An answer came; nobody may wait for it any more."""
        call = self._calls.get(ref) if isinstance(ref, str) else None
        if call is not None:
            _settle(call, answer)

    def fail(self, failure: Exception) -> None:
        """No answer will come to any."""
        for call in self._calls.values():
            _settle(call, failure)


def _settle(call: _Call, answer: Mapping[str, Any] | Exception) -> None:
    if call.answer.done():
        return
    if isinstance(answer, Exception):
        call.answer.set_exception(answer)
    else:
        call.answer.set_result(answer)
