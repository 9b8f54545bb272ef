"""Ids name their conversation, and derived ones are the same everywhere."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids
from schemas.errors import ContractError

OWN = st.binary(min_size=16, max_size=16).map(bytes.hex)


@given(OWN, OWN)
def test_every_id_of_a_turn_leads_back_to_it(conversation_hex: str, own_hex: str) -> None:
    """Turn, completion and items all lead to the turn, and the turn to its conversation."""
    conversation = ids.conversation_id(conversation_hex)
    turn = ids.turn_id(conversation, own_hex)
    assert ids.conversation_of(turn) == conversation == ids.parse_conversation(conversation)
    assert ids.parse_turn(turn) == turn == ids.parse_turn(ids.completion_id(turn))
    for item in (ids.input_item_id(turn), ids.output_item_id(turn)):
        assert ids.turn_of_item(ids.parse_item(item)) == turn


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7_holds_its_time(at_ms: int, entropy: bytes) -> None:
    """A generated id is a UUIDv7 whose time can be read back."""
    own_hex = ids.uuid7_hex(at_ms, entropy)
    assert (uuid.UUID(own_hex).version, uuid.UUID(own_hex).variant) == (7, uuid.RFC_4122)
    assert ids.created_at_ms(own_hex) == at_ms


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_keyed_id_is_the_same_on_any_gateway(tenant: str, key: str) -> None:
    """An idempotency key gives two different UUIDv8 that depend on tenant and key alone and hold no time."""
    turn, conversation = ids.keyed_hexes(tenant, key)
    assert (turn, conversation) == ids.keyed_hexes(tenant, key)
    assert turn != conversation
    assert uuid.UUID(turn).version == 8
    assert ids.created_at_ms(turn) is None


def test_tenant_and_key_are_told_apart() -> None:
    """The same characters split differently between tenant and key give other ids."""
    assert ids.keyed_hexes("ab", "c") != ids.keyed_hexes("a", "bc")


@pytest.mark.parametrize(
    "text", ["", "conv_", "conv_" + "g" * 32, "conv_" + "A" * 32, "conv_" + "0" * 33, "resp_" + "0" * 32]
)
def test_strangers_are_refused(text: str) -> None:
    """What is not an id is refused by every parser."""
    for parse in (ids.parse_conversation, ids.parse_turn, ids.parse_item):
        with pytest.raises(ContractError):
            parse(text)


@pytest.mark.parametrize("text", ["", "A", "a_b", "a" * 49, "ä", "a b"])
def test_bad_names_are_refused(text: str) -> None:
    """Names are 1 to 48 of a-z, 0-9 and -."""
    with pytest.raises(ContractError):
        ids.parse_name(text)
