from dataclasses import replace

from schemas.errors import ErrorCode
from schemas.turns import ContextTurn, Message, Reason, Role, TurnRequest
from stream_processors.enrichment.context import ContextEntry
from stream_processors.enrichment.counting import measure_of
from stream_processors.enrichment.facts import Fits, Unfit, Unloaded
from stream_processors.enrichment.planning import Planner
from stream_processors.enrichment.state import OpenTurn, Status
from stream_processors.routing.fleet import snapshot
from tests.stream_processors.enrichment.simulation import turn_id
from tests.stream_processors.enrichment.world import _deployment, allowed, new_conversation

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
