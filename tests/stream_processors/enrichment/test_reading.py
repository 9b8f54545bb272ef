from dataclasses import fields
from typing import Any

import pytest

from schemas import codec, instants, topics
from schemas.errors import ContractError
from schemas.records import (
    ClockTicked,
    ContextLoaded,
    ConversationReset,
    TurnCompleted,
    TurnReturned,
    TurnStopRequested,
)
from schemas.turns import ContextTurn
from stream_processors.enrichment.inputs import (
    Allowed,
    Announced,
    Completed,
    Loaded,
    Refused,
    ResetAsked,
    Returned,
    StopAsked,
    Unreadable,
)
from stream_processors.enrichment.reading import read, salvaged, unreadable
from tests.stream_processors.enrichment.simulation import CONVERSATION, turn_id
from tests.stream_processors.enrichment.world import allowed, new_conversation
from tests.support.samples import sample, samples


def _given(topic: str, record: object, offset: int = 7) -> object:
    addressed = read(topic, offset, record, {"standard": 3})  # type: ignore[arg-type]
    return None if addressed is None else addressed.given


def test_requests_carry_offset_band_and_owner() -> None:
    """The offset in chat.moderated is the order, the tier gives the band, the record says whose it is."""
    record = allowed(new_conversation(), "hi")
    given = _given(topics.MODERATED, record)
    assert isinstance(given, Allowed)
    assert (given.order, given.band, given.owner.tenant, given.is_new) == (7, 3, "acme", True)
    assert not isinstance(given, Refused)


def test_requests_carry_the_conversation_s_age() -> None:
    """When the conversation was made comes as milliseconds, and may be untold."""
    told = _given(topics.MODERATED, allowed(new_conversation(), "hi", created_at="1970-01-01T00:00:01.500Z"))
    untold = _given(topics.MODERATED, allowed(new_conversation(), "hi"))
    assert isinstance(told, Allowed)
    assert isinstance(untold, Allowed)
    assert (told.created_ms, untold.created_ms) == (1_500, None)


def test_resets_mean_different_things_on_two_topics() -> None:
    """On the way in a reset is asked for; on chat.turns it is the gate's own word."""
    record = sample(ConversationReset)
    assert isinstance(_given(topics.MODERATED, record), ResetAsked)
    assert _given(topics.TURNS, record) == Announced(offset=7)


def test_every_record_has_its_input() -> None:
    """Ticks and strangers concern no conversation; the others become inputs."""
    assert _given(topics.CONTROL, sample(ClockTicked)) is None
    assert isinstance(_given(topics.TURNS, sample(TurnCompleted)), Completed)
    assert isinstance(_given(topics.CONTROL, sample(TurnStopRequested)), StopAsked)
    for record in samples().values():
        if record.type not in ("TurnAllowed", "TurnRefused"):
            read(topics.TURNS, 1, codec.decode(codec.encode(record)), {})


def test_a_return_says_how_often_and_where() -> None:
    """All that the gate decides by is read; a record of an earlier program has failed nowhere."""
    record: TurnReturned = sample(TurnReturned)
    given = _given(topics.TURNS, record)
    assert isinstance(given, Returned)
    assert (given.turn, given.dispatch, given.offset, given.failures) == (record.turn, 7, 7, 7)
    assert (given.is_shown, given.worker, given.discarded_tokens) == (True, "worker-text", 7)


def test_loads_find_the_last_turn_of_the_present_epoch() -> None:
    """Among what was loaded, the newest turn of the epoch is what comes next's parent; the log goes on behind all."""
    turn: ContextTurn = sample(ContextTurn)
    old = ContextTurn(**{**_fields(turn), "turn": turn_id(1), "n": 4, "epoch": 1, "log_end": 40})
    new = ContextTurn(**{**_fields(turn), "turn": turn_id(2), "n": 5, "epoch": 2, "log_end": 50})
    record = ContextLoaded(id="l", at="", conversation=CONVERSATION, found=True, next_n=6, epoch=2, turns=(old, new))
    given = _given(topics.CONTROL, record)
    ended_ms = instants.to_ms(new.ended_at or "")
    assert given == Loaded(next_n=6, epoch=2, last=turn_id(2), log_end=50, ended_ms=ended_ms, log=new.log)
    later = ContextLoaded(id="l", at="", conversation=CONVERSATION, found=True, next_n=6, epoch=3, turns=(old, new))
    assert _given(topics.CONTROL, later) == Loaded(
        next_n=6, epoch=3, last=None, log_end=50, ended_ms=ended_ms, log=new.log
    )


def test_nobody_follows_a_stored_turn_whose_parent_has_no_row() -> None:
    """With all rows at hand, one that ended before its parent is not followed; of a part of them nobody can tell."""
    turn: ContextTurn = sample(ContextTurn)
    for first, last in ((1, turn_id(1)), (4, turn_id(3))):
        one = ContextTurn(**{**_fields(turn), "turn": turn_id(1), "n": first, "epoch": 0, "parent": None})
        early = ContextTurn(**{**_fields(turn), "turn": turn_id(3), "n": first + 2, "epoch": 0, "parent": turn_id(2)})
        record = ContextLoaded(id="l", at="", conversation=CONVERSATION, found=True, next_n=8, turns=(one, early))
        given = _given(topics.CONTROL, record)
        assert isinstance(given, Loaded)
        assert given.last == last


def test_what_names_no_turn_is_refused() -> None:
    """A turn of another conversation, or none where one must be, is a fault with its place."""
    record = allowed(new_conversation(), "hi")
    wrong = codec.decode(codec.encode(record).replace(record.conversation.encode(), CONVERSATION.encode(), 1))  # type: ignore[union-attr]
    with pytest.raises(ContractError, match="another conversation"):
        read(topics.MODERATED, 1, wrong, {})


def test_a_broken_request_whose_turn_is_known_is_salvaged() -> None:
    """Where turn and log can be read the turn can end visibly; where they can't, nothing is made up."""
    record = allowed(new_conversation(), "hi")
    broken = codec.encode(record).replace(b'"tier":"standard"', b'"tier":7')
    with pytest.raises(ContractError):
        codec.decode(broken)
    found = salvaged(broken)
    assert found is not None
    assert (found.turn, found.request.log, found.request.text) == (record.turn, record.request.log, "hi")
    assert isinstance(unreadable(3, found).given, Unreadable)
    assert salvaged(b"[]") is None
    assert salvaged(b'{"turn": "resp_1"}') is None
    assert salvaged(broken.replace(b'"log":', b'"gol":')) is None


def _fields(turn: ContextTurn) -> dict[str, Any]:
    return {field.name: getattr(turn, field.name) for field in fields(turn)}
