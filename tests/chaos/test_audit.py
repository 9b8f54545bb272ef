"""The audit finds each kind of fault when it is put into facts that are sound: one that can't fail proves nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.audit import Facts, audit, twice
from tests.chaos.plan import TurnPlan, Way
from tests.chaos.readers import Shown
from tests.chaos.rule import Json, fold
from tests.chaos.senders import Answer
from tests.chaos.traffic import Told, Traffic
from tests.support.pipeline import Pipeline

TURN = "resp_" + "1" * 32 + "2" * 32
CONVERSATION = "conv_" + "1" * 32
PLAN = TurnPlan(key="k", way=Way.STREAM, tokens=3, stop_after_s=None, cut_after_s=None, waits=True)


class Sound:
    """What a run of one turn leaves behind when all is well; tests break it before it is folded."""

    def __init__(self) -> None:
        of_turn = {"turn": TURN, "attempt": 1}
        self.log: list[dict[str, Any]] = [
            {"type": "turn.accepted", "turn": TURN, "order": 0, "text": PLAN.text},
            {"type": "turn.started", **of_turn},
            {"type": "turn.delta", **of_turn, "seq": 0, "text": "w0 w1", "token_ids": [0, 1]},
            {"type": "turn.delta", **of_turn, "seq": 1, "text": " w2", "token_ids": [2]},
            {
                "type": "turn.ended", **of_turn, "seq": 2, "reason": "stop", "error": None, "withheld_tokens": 0,
                "discarded_tokens": 0,
            },
        ]  # fmt: skip
        self.requested: dict[str, Json] = {TURN: {"tenant": "acme", "request": {"stored": True}}}
        self.completed = [{"id": f"{TURN}.completed"}]
        self.usage = [
            {
                "delivered_tokens": 3, "withheld_tokens": 0, "regenerated_tokens": 0, "discarded_tokens": 0,
                "generated_tokens": 3,
            }
        ]  # fmt: skip
        self.rows = [{"turn": TURN, "output_text": PLAN.answer, "delivered_tokens": 3}]
        self.answer = Answer(TURN, PLAN.answer, "completed")
        self.shown = Shown(PLAN.answer, 2, "stop")
        self.plan = PLAN
        self.is_told = True
        self.traffic = Traffic(Pipeline(Path(), 0, 0, "", {}), {}, 0)
        self.dead_letters: list[dict[str, Any]] = []

    @property
    def facts(self) -> Facts:
        """As the audit gathers them."""
        facts = Facts(requested=self.requested, dead_letters=self.dead_letters)
        facts.logs[CONVERSATION] = fold(enumerate(self.log))
        for by_turn, records in ((facts.completed, self.completed), (facts.usage, self.usage)):
            if records:
                by_turn[TURN] = [json.dumps(record).encode() for record in records]
        facts.rows[TURN] = self.rows
        return facts

    def broken(self) -> set[str]:
        """The invariants that the audit finds broken."""
        told = Told(self.plan, "acme", CONVERSATION, TURN, self.answer, self.shown)
        self.traffic.told = [told] if self.is_told else []
        return {verdict.invariant for verdict in audit(self.facts, self.traffic) if verdict.broken}


def _spliced(run: Sound) -> None:
    run.log[3]["text"] = " x2"


def _twice_told(run: Sound) -> None:
    run.completed.append({"id": f"{TURN}.other"})


def _twice_billed(run: Sound) -> None:
    run.usage.append({**run.usage[0], "generated_tokens": 4})


def _gap(run: Sound) -> None:
    run.traffic.read.gaps += 1


def _repeat(run: Sound) -> None:
    run.traffic.posted.repeats += 1


def _contradiction(run: Sound) -> None:
    run.traffic.read.contradictions.append("as made up")


def _surprise(run: Sound) -> None:
    run.traffic.posted.surprises.append("500")


def _no_hint(run: Sound) -> None:
    run.traffic.posted.without_retry_after += 1


def _sent_away(run: Sound) -> None:
    run.traffic.read.refusals.append("4501")


def _given_up(run: Sound) -> None:
    run.is_told = False
    run.traffic.hung.append(f"{TURN}: its client never saw an end")


ANSWERS = "answers unlike the undisturbed ones"
SHOWN = "clients shown another text than is stored"
ROWS = "rows unlike the log"
LOST = "accepted turns that were lost"
ENDS = "turns without exactly one end"
BILLS = "bills unlike the recount of the log"
FAULTS: dict[str, tuple[Callable[[Sound], object], set[str]]] = {
    "never requested": (lambda run: run.requested.clear(), {LOST, "turns without exactly one row"}),
    "no end": (lambda run: run.log.pop(), {LOST, ENDS, ANSWERS, BILLS}),
    "an end whose delta is lost": (lambda run: run.log.pop(3), {LOST, ENDS, ANSWERS, SHOWN, ROWS, BILLS}),
    "no turn record": (lambda run: run.completed.clear(), {LOST, ENDS}),
    "two turn records": (_twice_told, {ENDS, "repeats of an id that differ"}),
    "no row": (lambda run: run.rows.clear(), {"turns without exactly one row"}),
    "two rows": (lambda run: run.rows.append(run.rows[0]), {"turns without exactly one row"}),
    "another answer": (_spliced, {ANSWERS, SHOWN, ROWS}),
    "another row": (lambda run: run.rows[0].update(output_text="w0"), {ROWS}),
    "the sender saw less": (lambda run: setattr(run.answer, "text", "w0"), {SHOWN}),
    "the reader saw more": (lambda run: setattr(run.shown, "text", PLAN.answer + " w3"), {SHOWN}),
    "the sender was told another end": (lambda run: setattr(run.answer, "status", "incomplete"), {SHOWN}),
    "the reader saw another end": (lambda run: setattr(run.shown, "reason", "cancelled"), {SHOWN}),
    "a row that outlives its conversation": (
        lambda run: run.traffic.deleted.add(CONVERSATION),
        {"turns without exactly one row"},
    ),
    "a reset that nobody sees": (lambda run: run.traffic.reset.add(CONVERSATION), {"resets that the log doesn't show"}),
    "no bill": (lambda run: run.usage.clear(), {BILLS}),
    "a wrong bill": (lambda run: run.usage[0].update(generated_tokens=4), {BILLS}),
    "two bills": (_twice_billed, {"repeats of an id that differ"}),
    "a bill for nothing": (lambda run: run.log.__delitem__(slice(1, 4)), {LOST, ENDS, ANSWERS, SHOWN, ROWS, BILLS}),
    "nobody stopped it": (lambda run: run.log[-1].update(reason="cancelled"), {ANSWERS, SHOWN}),
    "a client that gave up": (_given_up, {"turns whose client never saw an end"}),
    "a turn that nobody knows": (lambda run: setattr(run, "is_told", False), {"turns that no client was told of"}),
    "a gap": (_gap, {"gaps that a reader saw"}),
    "a repeat": (_repeat, {"repeats that a reader saw"}),
    "a contradiction": (_contradiction, {"screens that were contradicted"}),
    "a surprise": (_surprise, {"answers of the API that nobody expects"}),
    "no Retry-After": (_no_hint, {"503 or 429 without Retry-After"}),
    "sent away": (_sent_away, {"readers sent away for good"}),
    "a dead letter": (lambda run: run.dead_letters.append({"error": "bad"}), {"dead letters"}),
}


def test_sound_facts_pass() -> None:
    """Nothing is found where nothing is wrong."""
    assert Sound().broken() == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    """A fault breaks the invariants that it should, and no others."""
    act, expected = FAULTS[fault]
    run = Sound()
    act(run)
    assert run.broken() == expected


def test_a_stopped_turn_may_be_cut_short_but_not_changed() -> None:
    """Whoever was stopped shows a beginning of its answer."""
    run = Sound()
    run.plan = TurnPlan(key="k", way=Way.STREAM, tokens=9, stop_after_s=1.0, cut_after_s=None, waits=True)
    run.log[-1]["reason"] = run.shown.reason = run.answer.status = "cancelled"
    assert run.broken() == set()
    run.log[2]["text"] = "x0 w1"
    assert ANSWERS in run.broken()


def test_tokens_made_twice_are_counted_for_each_takeover() -> None:
    """What a displaced attempt still said is counted as made again, by the number of takeovers."""
    run = Sound()
    late = {"type": "turn.delta", "turn": TURN, "attempt": 1, "seq": 2, "text": " w3", "token_ids": [3, 4]}
    run.log[4:] = [{"type": "turn.started", "turn": TURN, "attempt": 2}, late, {**run.log[4], "attempt": 2}]
    assert list(twice(run.facts)) == [2]
