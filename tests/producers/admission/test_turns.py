from dataclasses import replace

import pytest

from producers.admission import limits, turns
from producers.admission.asks import Ask, Dialect
from schemas import ids, instants, topics
from schemas.errors import CallerError
from schemas.identity import Principal
from tests.producers.support.asked import CONVERSATION, TURN

ANNA = Principal(tenant="acme", key_id="k1", tier="gold", scopes=("write",))
ASK = Ask(dialect=Dialect.RESPONSES, text="hi", stored=True)
PLACE = turns.Placing(
    turn=TURN, conversation=CONVERSATION, user="anna", is_new=True,
    log=topics.address(CONVERSATION, retired=False, stored=True, lanes=4),
)  # fmt: skip
ARRIVAL = turns.Arrival(at_ms=1_000_000, deadline_s=600)


def test_ids_are_new_or_the_keys() -> None:
    """Without a key ids hold the time; with one they are the same for ever, and another tenant's are others."""
    new = turns.own_ids("acme", None, 1_000_000, bytes(10))
    assert ids.created_at_ms(new.turn_hex) == 1_000_000
    assert new.conversation_hex is None
    keyed = turns.own_ids("acme", "order-1", 1, bytes(10))
    assert keyed == turns.own_ids("acme", "order-1", 2, bytes(range(10)))
    assert keyed != turns.own_ids("other", "order-1", 1, bytes(10))


def test_the_record_says_it_all() -> None:
    """Nothing later in the pipeline has to ask the client again."""
    record = turns.requested(ASK, ANNA, PLACE, ARRIVAL)
    assert record.id == f"{TURN}.requested"
    assert (record.tenant, record.conversation, record.turn) == ("acme", CONVERSATION, TURN)
    assert (record.request.key_id, record.request.tier, record.request.user) == ("k1", "gold", "anna")
    assert record.request.parent is None
    assert instants.to_ms(record.request.deadline_at) - instants.to_ms(record.request.accepted_at) == 600_000
    assert record.request.fingerprint == ASK.fingerprint


def test_the_record_says_how_old_the_conversation_is() -> None:
    """The gate tells by it whether a conversation that it doesn't know can have a past."""
    place = replace(PLACE, is_new=False, created_at="2026-01-31T12:00:00.123Z")
    assert turns.requested(ASK, ANNA, place, ARRIVAL).request.created_at == "2026-01-31T12:00:00.123Z"


def test_a_deadline_has_a_bound() -> None:
    """A deadline lies within half the shortest retention on the turn's way, whoever asks for more."""
    record = turns.requested(replace(ASK, deadline_s=10**9), ANNA, PLACE, ARRIVAL)
    asked_s = (instants.to_ms(record.request.deadline_at) - ARRIVAL.at_ms) / 1000
    assert asked_s == limits.MAX_DEADLINE_S


def test_keys_have_a_length() -> None:
    """A key of 1 to 255 printable ASCII characters is taken."""
    assert turns.checked_key(None) is None
    assert turns.checked_key("x" * 255) == "x" * 255
    for key in ("", "x" * 256, "k\udce9", "k\xe9", "k\n"):
        with pytest.raises(CallerError):
            turns.checked_key(key)
