"""What the brokers and the store say of a run, against what its clients were told: the promise, invariant by invariant.

Facts only: topics as an analyst's consumer reads them, rows as CQL gives them, folded by the rule written anew.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import dict_factory

from tests.chaos.plan import Way
from tests.chaos.rule import FoldedLog, FoldedTurn, Json, fold
from tests.chaos.traffic import Told, Traffic
from tests.support.analyst import read_whole, topics_of
from tests.support.contract import conversation_of
from tests.support.pipeline import Pipeline

# How who sent a turn is told of its end, by the log's reason (contract, section 5). A Response that was stopped closes
# its stream as incomplete, and is cancelled from then on.
_STATUSES: Final[Mapping[str, set[str]]] = {
    "stop": {"completed"},
    "length": {"incomplete"},
    "refused": {"incomplete"},
    "withheld": {"incomplete"},
    "cancelled": {"cancelled", "incomplete"},
    "expired": {"failed"},
    "failed": {"failed"},
}
# The same of a chat completion; what expired or failed is an error there.
_FINISHES: Final[Mapping[str, set[str]]] = {
    "stop": {"stop"},
    "length": {"length"},
    "refused": {"content_filter"},
    "withheld": {"content_filter"},
    "cancelled": {"stop"},
}


@dataclass
class Facts:
    """All that the run left behind.

    Args:
        requested: each TurnRequested by turn. logs: by conversation.
        completed, usage: every record by turn, repeats included, as bytes.
        rows: by turn.
    """

    requested: dict[str, Json] = field(default_factory=dict)
    logs: dict[str, FoldedLog] = field(default_factory=dict)
    completed: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    usage: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    dead_letters: list[dict[str, Any]] = field(default_factory=list)

    def turn(self, name: str) -> FoldedTurn:
        """The turn as its log says."""
        log = self.logs.get(conversation_of(name))
        return (log.turns if log is not None else {}).get(name, FoldedTurn())

    def rows_expected(self, turn: str, traffic: Traffic) -> int:
        """How many rows the turn is to have."""
        is_stored = turn in self.requested and self.requested[turn]["request"]["stored"]
        return int(is_stored and conversation_of(turn) not in traffic.deleted)

    def open_turns(self, traffic: Traffic) -> list[str]:
        """Accepted turns that have no end in the log, are not in `chat.turns`, or whose row is not as it is to be."""
        return [
            name
            for name in self.requested
            if self.turn(name).ended is None
            or name not in self.completed
            or len(self.rows.get(name, ())) != self.rows_expected(name, traffic)
        ]


async def gather(pipeline: Pipeline) -> Facts:
    """Read everything there is now."""
    facts = Facts()
    names = await topics_of(pipeline.kafka)
    for entry in await read_whole(pipeline.kafka, ["chat.requests", "chat.turns", "chat.usage", "dead.letters"]):
        if entry.value is not None:
            _sort_in(facts, entry.value)
    logs = [
        name
        for name in names
        if name.startswith("conversation.") or name in {"conversations", "conversations.unstored"}
    ]
    by_conversation: dict[str, list[tuple[int, Json]]] = defaultdict(list)
    for entry in await read_whole(pipeline.kafka, logs):
        if entry.value is not None:
            by_conversation[entry.key.decode()].append((entry.offset, json.loads(entry.value)))
    facts.logs = {conversation: fold(records) for conversation, records in by_conversation.items()}
    for row in _rows(pipeline):
        facts.rows[row["turn"]].append(row)
    return facts


def _sort_in(facts: Facts, value: bytes) -> None:
    record = json.loads(value)
    match record["type"]:
        case "TurnRequested":
            facts.requested.setdefault(record["turn"], record)
        case "TurnCompleted":
            facts.completed[record["turn"]].append(value)
        case "UsageRecorded":
            facts.usage[record["turn"]].append(value)
        case "DeadLettered":
            facts.dead_letters.append(record)


def _rows(pipeline: Pipeline) -> list[dict[str, Any]]:
    host, port = pipeline.cassandra
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([host]), row_factory=dict_factory, request_timeout=60
    )
    with Cluster([host], port=port, protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
        return list(cluster.connect().execute("SELECT * FROM parley.turns"))


# --- the invariants -------------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """One invariant.

    Args:
        checked: how many things it was checked on. broken: what breaks it, in words.
    """

    invariant: str
    checked: int
    broken: list[str]


def audit(facts: Facts, traffic: Traffic) -> list[Verdict]:
    """Every invariant of the promise, broken or not."""
    accepted = set(facts.requested) | {told.turn for told in traffic.told}
    told = traffic.told
    return [
        Verdict("accepted turns that were lost", len(accepted), _each(accepted, lambda turn: _lost(facts, turn))),
        Verdict("turns without exactly one end", len(accepted), _each(accepted, lambda turn: _ends(facts, turn))),
        Verdict(
            "turns without exactly one row", len(accepted), _each(accepted, lambda turn: _row(facts, turn, traffic))
        ),
        Verdict(
            "resets that the log doesn't show",
            len(traffic.reset),
            _each(traffic.reset, lambda each: _unreset(facts, each)),
        ),
        Verdict("turns whose client never saw an end", len(told) + len(traffic.hung), traffic.hung),
        Verdict("turns that no client was told of", len(facts.requested), _untold(facts, traffic)),
        Verdict("gaps that a reader saw", len(told), ["a gap"] * traffic.read.gaps),
        Verdict("repeats that a reader saw", len(told), ["a repeat"] * (traffic.read.repeats + traffic.posted.repeats)),
        Verdict("screens that were contradicted", len(told), traffic.read.contradictions),
        Verdict("answers unlike the undisturbed ones", len(told), _each(told, lambda each: _unlike(facts, each))),
        Verdict("clients shown another text than is stored", len(told), _each(told, lambda each: _unseen(facts, each))),
        Verdict("rows unlike the log", len(accepted), _each(accepted, lambda turn: _misstored(facts, turn))),
        Verdict(
            "bills unlike the recount of the log", len(accepted), _each(accepted, lambda turn: _misbilled(facts, turn))
        ),
        Verdict("repeats of an id that differ", *_differing(facts)),
        Verdict("answers of the API that nobody expects", traffic.posted.requests, traffic.posted.surprises),
        Verdict("503 or 429 without Retry-After", traffic.posted.refused, ["one"] * traffic.posted.without_retry_after),
        Verdict("readers sent away for good", traffic.read.lost, traffic.read.refusals),
        Verdict("dead letters", len(facts.dead_letters), [each["error"] for each in facts.dead_letters]),
    ]


def _each(things: Iterable[Any], fault: Callable[[Any], str | None]) -> list[str]:
    return [found for found in map(fault, things) if found is not None]


def _lost(facts: Facts, turn: str) -> str | None:
    if turn not in facts.requested:
        return f"{turn}: a client was told that it is accepted; it is not in chat.requests"
    folded = facts.turn(turn)
    missing = [
        place
        for place, is_there in (
            ("turn.accepted in its log", folded.accepted is not None),
            ("an end in its log", folded.ended is not None),
            ("TurnCompleted", turn in facts.completed),
        )
        if not is_there
    ]
    return f"{turn}: no {', no '.join(missing)}" if missing else None


def _ends(facts: Facts, turn: str) -> str | None:
    ids = {json.loads(value)["id"] for value in facts.completed.get(turn, ())}
    is_one = facts.turn(turn).ended is not None and len(ids) == 1
    return None if is_one else f"{turn}: ends in chat.turns: {sorted(ids)}"


def _unreset(facts: Facts, conversation: str) -> str | None:
    log = facts.logs.get(conversation)
    return None if log is not None and log.resets else f"{conversation}: no conversation.reset"


def _row(facts: Facts, turn: str, traffic: Traffic) -> str | None:
    expected = facts.rows_expected(turn, traffic)
    found = len(facts.rows.get(turn, ()))
    return None if found == expected else f"{turn}: {found} rows, not {expected}"


def _untold(facts: Facts, traffic: Traffic) -> list[str]:
    """Turns that came of requests which their clients hold for others, or that nobody sent."""
    if traffic.hung:
        return []  # a client that gave up may not have learnt its turn's id
    return sorted(set(facts.requested) - {told.turn for told in traffic.told})


def _unlike(facts: Facts, told: Told) -> str | None:
    folded = facts.turn(told.turn)
    reason = None if folded.ended is None else folded.ended["reason"]
    if reason == "cancelled" and told.plan.stop_after_s is not None:
        return (
            None if told.plan.answer.startswith(folded.text) else f"{told.turn}: stopped behind {folded.text[-40:]!r}"
        )
    if reason == "stop" and folded.text == told.plan.answer:
        return None
    error = None if folded.ended is None else folded.ended["error"]
    return f"{told.turn}: {reason} ({error}) with {len(folded.text)} of {len(told.plan.answer)} characters"


def _unseen(facts: Facts, told: Told) -> str | None:
    folded = facts.turn(told.turn)
    for viewer, text in (("sender", told.answer.text), ("reader", told.shown.text if told.shown else None)):
        if text is not None and text != folded.text:
            return f"{told.turn}: its {viewer} was shown {len(text)} characters, the log holds {len(folded.text)}"
    if folded.ended is None:
        return None
    reason, status = folded.ended["reason"], told.answer.status
    if told.shown is not None and told.shown.reason != reason:
        return f"{told.turn}: its reader was told {told.shown.reason}, the log holds {reason}"
    statuses = _FINISHES if told.plan.way is Way.UNSTORED else _STATUSES
    if status is not None and status not in statuses.get(reason, ()):
        return f"{told.turn}: its sender was told {status}, the log holds {reason}"
    return None


def _misstored(facts: Facts, turn: str) -> str | None:
    folded = facts.turn(turn)
    for row in facts.rows.get(turn, ()):
        if row["output_text"] != folded.text or row["delivered_tokens"] != folded.taken_tokens:
            return f"{turn}: its row holds another text or count than its log"
    return None


def _misbilled(facts: Facts, turn: str) -> str | None:
    folded = facts.turn(turn)
    records = facts.usage.get(turn, [])
    if folded.claims == 0:
        return f"{turn}: a bill for a turn that nobody claimed" if records else None
    if not records or folded.ended is None:
        return f"{turn}: claimed, and no bill"
    bill = json.loads(records[0])
    recount = recounted(folded)
    wrong = [
        f"{name} {bill[f'{name}_tokens']}, not {count}"
        for name, count in recount.items()
        if bill[f"{name}_tokens"] != count
    ]
    if bill["generated_tokens"] != sum(recount.values()):
        wrong.append(f"generated {bill['generated_tokens']}, not {sum(recount.values())}")
    return f"{turn}: {', '.join(wrong)}" if wrong else None


def recounted(folded: FoldedTurn) -> dict[str, int]:
    """The turn's tokens by kind, counted in its log."""
    end = folded.ended or {}
    return {
        "delivered": folded.taken_tokens,
        "withheld": end.get("withheld_tokens", 0),
        "regenerated": folded.dropped_tokens,
        "discarded": end.get("discarded_tokens", 0),
    }


def _differing(facts: Facts) -> tuple[int, list[str]]:
    """How many records came more than once, and the ids whose repeats are not the same bytes."""
    repeats, broken = 0, []
    for name, by_turn in (("TurnCompleted", facts.completed), ("UsageRecorded", facts.usage)):
        for turn, values in by_turn.items():
            repeats += len(values) - 1
            if len(set(values)) > 1:
                broken.append(f"{name} of {turn}")
    return repeats, broken


def totals(facts: Facts) -> Mapping[str, tuple[int, int]]:
    """By tenant: generated tokens billed (one record per id), and recounted in the logs."""
    billed, counted = Counter[str](), Counter[str]()
    for turn, request in facts.requested.items():
        if turn in facts.usage:
            billed[request["tenant"]] += json.loads(facts.usage[turn][0])["generated_tokens"]
        counted[request["tenant"]] += sum(recounted(facts.turn(turn)).values()) if facts.turn(turn).claims else 0
    return {tenant: (billed[tenant], counted[tenant]) for tenant in sorted(billed | counted)}


def twice(facts: Facts) -> Sequence[int]:
    """Tokens that stand in the log more than once, for each takeover of a turn."""
    found = []
    for turn in facts.requested:
        folded = facts.turn(turn)
        if folded.claims > 1:
            found.append(round(folded.dropped_tokens / (folded.claims - 1)))
    return found


__all__ = ["Facts", "Verdict", "audit", "gather", "recounted", "totals", "twice"]
