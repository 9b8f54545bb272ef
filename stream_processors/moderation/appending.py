"""Appends what judging has decided: in order, tried again in place until the brokers have acknowledged all of it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from infra.runtime.kafka import Appender, Placed, RecordTooLarge
from schemas.errors import DependencyError
from stream_processors.moderation.judging import Output

_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 5.0

log = logging.getLogger(__name__)


class PatientAppender:
    """Gives up on nothing but a record that is too large.

    Args:
        appender: started or not.
    """

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self.is_waiting = False
        """True while the brokers don't take what is given."""

    async def append_all(self, outputs: Sequence[Output]) -> list[Output]:
        """Return when all are acknowledged; those that the brokers refuse as too large are returned, not appended.

        Records are enqueued in sequence, only their acknowledgements are awaited together: a `gather` of sends could
        put two of one key in the wrong order.
        """
        refused: list[Output] = []
        rest = list(outputs)
        backoff_s = _FIRST_BACKOFF_S
        while rest:
            rest, failure = await self._attempt(rest, refused)
            self.is_waiting = bool(rest)
            if rest:
                log.warning("%d records are not appended yet: %s; trying again", len(rest), failure)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
        return refused

    async def _attempt(
        self, outputs: Sequence[Output], refused: list[Output]
    ) -> tuple[list[Output], DependencyError | None]:
        sent: list[tuple[Output, asyncio.Future[Placed]]] = []
        failure: DependencyError | None = None
        unsent: list[Output] = []
        for place, output in enumerate(outputs):
            try:
                sent.append((output, await self._appender.send(output.topic, output.record, trace=output.trace)))
            except RecordTooLarge:
                refused.append(output)
            except DependencyError as error:
                # What is enqueued behind one that failed would overtake it.
                failure, unsent = error, list(outputs[place:])
                break
        failed: list[Output] = []
        for output, future in sent:
            try:
                await future
            except RecordTooLarge:
                refused.append(output)
            except DependencyError as error:
                failure = error
                failed.append(output)
        return failed + unsent, failure
