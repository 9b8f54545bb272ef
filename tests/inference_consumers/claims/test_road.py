"""The claim's steps on a log in memory that tells when it is read and written."""

from dataclasses import replace

from inference_consumers.claims.decision import Decision, Standing
from inference_consumers.claims.procedure import ClaimProcedure, Denied, LogView, Owned
from inference_consumers.claims.road import walk
from schemas.records import TurnStarted
from schemas.turns import LogAddress, Source
from tests.inference_consumers.memory_log import MemoryLog
from tests.support.logs import TURNS, ended, started

TURN = TURNS[0]
ADDRESS = LogAddress("conversations", 0)


def _procedure(view: LogView) -> ClaimProcedure:
    ids = iter(("one", "two", "three"))
    standing = Standing(dispatch=1, source=Source("inference.default", 0, 0), generation=1)

    def write(attempt: int) -> TurnStarted:
        record = started(TURN, attempt, claim=next(ids))
        return replace(record, dispatch=1, source=standing.source, generation=1)

    return ClaimProcedure(view, standing, write)


async def test_a_new_source_costs_one_append_and_one_read() -> None:
    """With the first read left out the claim is appended at once and read back; the prefill begins in between."""
    log, begun = MemoryLog(), list[TurnStarted]()
    view = LogView.begin(TURN, 0)
    settled = await walk(_procedure(view), log, ADDRESS, may_skip_reading=True, on_claim=begun.append)
    assert isinstance(settled, Owned)
    assert [record.id for record in begun] == ["one"]
    assert log.acts == ["send", "read"]


async def test_an_ended_turn_is_not_claimed() -> None:
    """A log that holds the end is read and left as it is."""
    log = MemoryLog([ended(TURN, 0, 0)])
    view = LogView.begin(TURN, 0)
    settled = await walk(_procedure(view), log, ADDRESS, may_skip_reading=False, on_claim=lambda _claim: None)
    assert settled == Denied(Decision.ENDED)
    assert log.acts == ["read"]


async def test_a_failed_append_is_followed_by_a_new_number() -> None:
    """A claim whose append failed, landed or not, is followed by one under the next number."""
    for lands in (False, True):
        log = MemoryLog()
        log.fail_next(lands=lands)
        view = LogView.begin(TURN, 0)
        settled = await walk(_procedure(view), log, ADDRESS, may_skip_reading=True, on_claim=lambda _claim: None)
        assert isinstance(settled, Owned)
        assert settled.claim.id == "two"
        assert settled.claim.attempt == (2 if lands else 1)
