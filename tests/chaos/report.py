"""What a run prints: blows by tier, the promise invariant by invariant, and what it cost."""

from collections.abc import Iterator

from tests.bench.report import environment, spread
from tests.chaos.audit import totals, twice
from tests.chaos.plan import Tier
from tests.chaos.run import Outcome

_SHOWN = 8


def lines(outcome: Outcome) -> Iterator[str]:
    """The whole report."""
    traffic, blows = outcome.traffic, outcome.blows
    yield environment()
    took = f"{len(traffic.told)} turns in {outcome.traffic_s:.0f} s, settled {outcome.settle_s:.0f} s later"
    yield f"seed {outcome.seed}: {took}"
    yield "  " + ", ".join(f"{way.value}: {count}" for way, count in traffic.sent.most_common())
    reasons: dict[str, int] = {}
    for turn in outcome.facts.requested:
        ended = outcome.facts.turn(turn).ended
        reason = "open" if ended is None else str(ended["reason"])
        reasons[reason] = reasons.get(reason, 0) + 1
    yield f"  conversations reset: {len(traffic.reset)}, deleted: {len(traffic.deleted)}"
    yield "  ended: " + ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    yield ""
    yield f"{'tier':<14}{'SIGKILL':>9}{'SIGSTOP':>9}"
    for tier in Tier:
        yield f"{tier.value:<14}{blows.killed[tier]:>9}{blows.frozen[tier]:>9}"
    yield f"{'all':<14}{blows.killed.total():>9}{blows.frozen.total():>9}"
    yield ""
    yield f"{'invariant':<46}{'checked':>9}{'broken':>9}"
    for verdict in outcome.verdicts:
        yield f"{verdict.invariant:<46}{verdict.checked:>9}{len(verdict.broken):>9}"
        yield from (f"    {each}" for each in verdict.broken[:_SHOWN])
    yield ""
    yield from _costs(outcome)


def _costs(outcome: Outcome) -> Iterator[str]:
    traffic, read = outcome.traffic, outcome.traffic.read
    for tenant, (billed, counted) in totals(outcome.facts).items():
        yield f"tokens of {tenant}: {billed} billed, {counted} counted in the logs, difference {billed - counted}"
    yield f"tokens in the log twice, a takeover: {spread(twice(outcome.facts), 'tokens')}"
    yield (
        f"readers: {read.cuts} sockets cut, {read.lost} connections lost in all; "
        f"{read.recovered} subscriptions recovered, {read.refreshed} given the history anew"
    )
    yield (
        f"requests: {traffic.posted.broken} broken off, {traffic.posted.refused} answered 503 or 429, "
        f"{traffic.posted.resumed} streams resumed"
    )
