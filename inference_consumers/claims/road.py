"""The claim's steps carried out on a real log."""

from collections.abc import Awaitable, Callable

from inference_consumers.claims.procedure import AppendClaim, ClaimProcedure, Denied, LogView, Owned, ReadOn
from inference_consumers.publishing.port import TurnLog
from schemas.errors import DependencyError
from schemas.ids import conversation_of
from schemas.records import Record, TurnStarted
from schemas.turns import LogAddress


async def walk(
    procedure: ClaimProcedure,
    log: TurnLog,
    address: LogAddress,
    *,
    place: Awaitable[int] | None = None,
    may_skip_reading: bool,
    on_claim: Callable[[TurnStarted], None],
    waits: Callable[[], Awaitable[bool]] | None = None,
    trace: str | None = None,
) -> Owned | Denied:
    """Take the procedure from its first step to its last.

    Args:
        place: where the first read begins, when the view doesn't know yet: looked up while the claim is on its way.
        on_claim: called as a claim is on its way, with the view's fold as far as it was read: the prefill may begin.
        waits: asked before a claim, with the view read to the log's end; True = something was waited for, so what
            was read has grown old and is read on.
        trace: the turn's `traceparent`.

    Raises:
        KafkaUnavailable: begin again with a new procedure on the same view, without skipping the first read.
    """
    step = procedure.begin(may_skip_reading=may_skip_reading)
    while True:
        match step:
            case ReadOn(stop):
                if place is not None:
                    procedure.view.next_offset, place = await place, None
                await read_into(procedure.view, log, address, stop, until=procedure.saw)
                if stop is None and waits is not None and await waits():
                    continue
                step = procedure.read()
            case AppendClaim(record):
                try:
                    ack = await log.send(address, record, trace=trace)
                    on_claim(record)
                    step = procedure.appended(await ack)
                except DependencyError:
                    step = procedure.append_failed()
            case _:
                return step


async def read_into(
    view: LogView, log: TurnLog, address: LogAddress, stop: int | None, until: Callable[[int, Record], bool]
) -> None:
    """Hand the log's next records to `until`, which takes them into the view, until it says True or all are read."""
    turn = view.fold.turn
    if stop is not None and stop <= view.next_offset:
        return
    async for offset, record in log.read(address, turn, conversation_of(turn), view.next_offset, stop):
        if until(offset, record):
            return
