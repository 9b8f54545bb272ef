from dataclasses import replace

import pytest

from schemas.errors import ErrorCode
from schemas.records import WorkerReported
from schemas.turns import ContextTurn, Message, Reason, Role, TurnRequest
from stream_processors.enrichment.context import ContextEntry
from stream_processors.enrichment.counting import measure_of
from stream_processors.enrichment.facts import Fits, Spoken, Unfit, Unloaded
from stream_processors.enrichment.planning import Planner
from stream_processors.enrichment.settings import FallbackSettings
from stream_processors.enrichment.state import OpenTurn, Status
from stream_processors.routing.fleet import snapshot
from tests.stream_processors.enrichment.simulation import turn_id
from tests.stream_processors.enrichment.world import _deployment, allowed, new_conversation
from tests.support.samples import sample

TURN = OpenTurn(turn=turn_id(2), status=Status.WAITING, order=1, deadline_ms=9, n=2, parent=turn_id(1))
PARENT = ContextEntry(
    turn=ContextTurn(
        turn=turn_id(1), n=1, parent=None, epoch=0, reason=Reason.STOP, texts=(Message(Role.USER, "one two"),),
        log_start=None, log_end=3,
    ),
    counts={"1": 500},
)  # fmt: skip


def _planner(entry: ContextEntry | None = PARENT, **more: object) -> Planner:
    measure = measure_of(None, 4096)
    given: dict[str, object] = {
        "fleet": snapshot([_deployment("default", "simulated")], [], 0), "look_up": lambda _turn: entry,
        "measure": lambda _deployment: measure, "tenant_instructions": "T", "answer_tokens": 100, "turn_s": None,
    }  # fmt: skip
    return Planner(**(given | more))  # type: ignore[arg-type]


def _request(**more: object) -> TurnRequest:
    return replace(allowed(new_conversation(), "hello").request, **more)  # type: ignore[arg-type]


def test_a_plan_names_pool_and_prompt() -> None:
    """Instructions of tenant, conversation and request are joined; counts kept in the context are used as they are."""
    plan, prompt = _planner().plan(TURN, _request(conversation_instructions="C", instructions="R"))
    assert isinstance(plan, Fits)
    assert prompt is not None
    assert [message.text for message in prompt.messages] == ["T\n\nC\n\nR", "one two", "hello"]
    assert plan.tokens == prompt.tokens > 500


def test_an_unknown_parent_is_asked_for() -> None:
    """A parent that the context table doesn't hold is named; a first turn needs none."""
    assert _planner(None).plan(TURN, _request())[0] == Unloaded(turn_id(1))
    assert isinstance(_planner(None).plan(replace(TURN, parent=None), _request())[0], Fits)


SMALL = FallbackSettings(pool="small", sentence="Sorry.")


def _with_small(*, workers: int = 1, tiers: tuple[str, ...] = (), max_model_len: int = 4096) -> Planner:
    """Two pools; as many workers in the smaller one."""
    small = replace(_deployment("small", "simulated"), tiers=tiers, max_model_len=max_model_len)
    reports = [
        (0, replace(sample(WorkerReported), pool="small", worker=f"w{n}", state="ready")) for n in range(workers)
    ]
    return _planner(
        fleet=snapshot([_deployment("default", "simulated"), small], reports, 0),
        measure=lambda deployment: measure_of(None, deployment.max_model_len),
    )


def test_a_turn_falls_back_to_a_pool_that_can_take_it() -> None:
    """The fallback's pool, with a prompt made for its model."""
    turn = replace(TURN, pool="default", origin="default")
    found, prompt = _with_small().fall_back(turn, _request(), SMALL)
    assert isinstance(found, Fits)
    assert prompt is not None
    assert (found.pool, found.deployment, found.tokens) == ("small", "small", prompt.tokens)


@pytest.mark.parametrize(
    ("planner", "turn"),
    [
        (_with_small(workers=0), TURN),
        (_with_small(tiers=("gold",)), TURN),
        (_with_small(max_model_len=2), TURN),
        (_with_small(), replace(TURN, is_degraded=True)),
        (_with_small(), replace(TURN, pool="small")),
        (_planner(), TURN),
    ],
    ids=["no worker", "another tier's", "too small", "fell back before", "the same pool", "not deployed"],
)
def test_a_pool_that_cannot_take_it_is_passed_over(planner: Planner, turn: OpenTurn) -> None:
    """Then the sentence is said, where there is one."""
    assert planner.fall_back(turn, _request(), SMALL) == (Spoken(), None)
    assert planner.fall_back(turn, _request(), FallbackSettings(pool="small")) == (None, None)


def test_without_a_fallback_there_is_none() -> None:
    """A pool that nobody wrote a table for has nothing to fall back to; a table that names nothing is refused."""
    assert _with_small().fall_back(TURN, _request(), None) == (None, None)
    with pytest.raises(ValueError, match="pool, a sentence or both"):
        FallbackSettings()
    with pytest.raises(ValueError, match="1000 characters"):
        FallbackSettings(sentence="")


def test_what_cannot_be_answered_is_unfit() -> None:
    """No such model, or a message that is too large."""
    plan, _ = _planner().plan(TURN, _request(model="gpt-9"))
    assert isinstance(plan, Unfit)
    assert plan.failure.code is ErrorCode.INVALID_REQUEST
    plan, _ = _planner().plan(TURN, _request(text="w " * 6000))
    assert isinstance(plan, Unfit)
    assert plan.failure.code is ErrorCode.CONTEXT_TOO_LARGE


def test_a_deployment_that_is_gone_is_counted_roughly() -> None:
    """A turn of a pool that nobody describes any more still gets a prompt."""
    prompt = _planner().prompt(TURN, _request(), None)
    assert not isinstance(prompt, Unloaded)
