"""Turns being answered over HTTP: followed before they are accepted, read to their end, and left behind rightly."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from producers.ingress.errors import SENT
from producers.publishing.acceptance import Acceptance, Admission, mismatch
from producers.relay.port import Delivered, DeliveryUnavailable, Following, TurnFeed
from producers.relay.progress import Progress
from schemas.errors import DependencyError
from schemas.ids import TurnId
from schemas.records import Record
from schemas.turns import LogAddress

# From a turn's record to its place in the log: ms; behind an outage the answer's form isn't kept back for it.
_AGREE_S: Final = 5.0

log = logging.getLogger(__name__)


class _Over:
    """The following of a turn that has ended: there is nothing to come."""

    async def next(self, within_s: float) -> Sequence[Delivered]:
        """Nothing, ever."""
        raise DeliveryUnavailable(f"nothing follows an end, in {within_s} s or ever")

    def close(self) -> None:
        """Nothing to do."""


class Reading:
    """One request's view of one turn.

    Args:
        progress: what is known already.
        wait_s: seconds of silence until `updates` says so.
        recheck: looks for a keyed turn where it isn't expected; raises IdempotencyMismatch when it is there.
    """

    def __init__(
        self,
        following: Following,
        progress: Progress,
        wait_s: float,
        recheck: Callable[[Admission], Awaitable[None]],
    ) -> None:
        self._following = following
        self.progress = progress
        self._wait_s = wait_s
        self._recheck = recheck
        self._unread: list[Record] = []

    async def updates(self) -> AsyncIterator[list[Record]]:
        """What the log says next, until the turn has ended; an empty list for each silence.

        Each record is folded into `progress` just before the list that holds it is yielded, deltas one list each.

        Raises:
            DeliveryUnavailable: the gateway is going away.
        """
        if self._unread:
            unread, self._unread = self._unread, []
            yield unread
        while self.progress.ended is None:
            taken = await self._next(self._wait_s)
            yield taken

    async def until_ended(self, within_s: float) -> None:
        """Return when the turn has ended. Raises DeliveryUnavailable, also when it hasn't in time."""
        try:
            async with asyncio.timeout(within_s):
                async for _ in self.updates():
                    pass
        except TimeoutError:
            raise DeliveryUnavailable(
                "the turn has not ended in time: ask for it by its id", self.progress.wait_s
            ) from None

    async def agree(self, admission: Admission) -> None:
        """Raise IdempotencyMismatch when the log says that the turn was made by another body.

        Of two bodies under one key that come at once, the first in the log is the turn.
        """
        deadline = time.monotonic() + _AGREE_S
        while self.progress.accepted is None and self.progress.ended is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                await self._recheck(admission)
                return
            self._unread += await self._next(left_s)
        accepted = self.progress.accepted
        if accepted is not None and accepted.fingerprint not in (None, admission.requested.request.fingerprint):
            raise mismatch()

    async def _next(self, within_s: float) -> list[Record]:
        delivered = await self._following.next(within_s)
        return [record for record, last_seq in delivered if self.progress.take_delivered(record, last_seq)]


class Relays:
    """All turns that are being answered here.

    Args:
        follow_s: how long a delivery node may take before nothing is accepted.
        abandon_s: how long after a broken connection a turn that isn't stored goes on.
        wait_s: see Reading.
    """

    def __init__(
        self, feed: TurnFeed, acceptance: Acceptance, *, follow_s: float, abandon_s: float, wait_s: float
    ) -> None:
        self._feed = feed
        self._acceptance = acceptance
        self._follow_s = follow_s
        self._abandon_s = abandon_s
        self._wait_s = wait_s
        self._open: dict[TurnId, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    async def drained(self) -> None:
        """Return when no turn is being answered here, and what was abandoned has been stopped."""
        await self._idle.wait()
        if self._leaving:
            await asyncio.wait(self._leaving)

    @asynccontextmanager
    async def accepted(self, request: web.Request, admission: Admission) -> AsyncIterator[Reading]:
        """Accept the turn, durably, and give its reading.

        Raises:
            DeliveryUnavailable: it could not be followed, and was not accepted.
            KafkaUnavailable: whether it was accepted is unknown.
        """
        progress = Progress(admission.turn)
        if admission.found is not None and admission.found.progress is not None:
            progress = admission.found.progress
            if progress.ended is not None:
                yield Reading(_Over(), progress, self._wait_s, self._acceptance.recheck)
                return
        try:
            following = await self._followed(admission.turn, admission.log)
        except BaseException:
            self._acceptance.drop(admission)
            raise
        committing = asyncio.create_task(self.committed(request, admission))
        with self._counted(admission.turn):
            reading = Reading(following, progress, self._wait_s, self._acceptance.recheck)
            try:
                # Half an acceptance helps nobody: a client that leaves now doesn't interrupt it.
                await asyncio.shield(committing)
                yield reading
            except (asyncio.CancelledError, ConnectionError):
                if not admission.requested.request.stored and reading.progress.ended is None:
                    self._abandon(admission, committing)
                raise
            finally:
                following.close()
                if progress.ended is not None:
                    self._acceptance.ended(admission.conversation, progress.ended.at)

    async def committed(self, request: web.Request, admission: Admission) -> None:
        """Accept the turn, durably. Raises KafkaUnavailable: whether it was accepted is unknown."""
        request[SENT] = not admission.is_keyed
        await self._acceptance.commit(admission)

    @asynccontextmanager
    async def followed(self, progress: Progress, address: LogAddress) -> AsyncIterator[Reading]:
        """The reading of a turn that was accepted before, from what is known of it on. Raises DeliveryUnavailable."""
        following = await self._followed(progress.turn, address)
        with self._counted(progress.turn):
            try:
                yield Reading(following, progress, self._wait_s, self._acceptance.recheck)
            finally:
                following.close()

    async def _followed(self, turn: TurnId, address: LogAddress) -> Following:
        return await self._feed.follow(turn, address, within_s=self._follow_s)

    @contextlib.contextmanager
    def _counted(self, turn: TurnId) -> Iterator[None]:
        self._open[turn] = self._open.get(turn, 0) + 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open[turn] -= 1
            if not self._open[turn]:
                del self._open[turn]
            if not self._open:
                self._idle.set()

    def _abandon(self, admission: Admission, committing: "asyncio.Task[None]") -> None:
        """Stop the turn unless its client comes back. A gateway's own drain is no disconnect."""
        if self.is_draining:
            return
        task = asyncio.create_task(self._stopped_later(admission, committing))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _stopped_later(self, admission: Admission, committing: "asyncio.Task[None]") -> None:
        await asyncio.wait({committing})
        await asyncio.sleep(self._abandon_s)
        if admission.turn in self._open:
            return
        try:
            await self._acceptance.stop(str(admission.requested.tenant), admission.conversation, admission.turn)
        except DependencyError as error:
            log.warning("an abandoned turn could not be stopped: %s", error, extra={"turn": admission.turn})
        else:
            log.info("stopped: its client has gone", extra={"turn": admission.turn})
