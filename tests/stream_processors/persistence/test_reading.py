import dataclasses

import pytest

from schemas import codec, topics
from schemas.errors import ContractError
from schemas.records import ConversationReset, TurnCompleted
from schemas.turns import Source
from stream_processors.persistence.reading import conversation_of, dead_letter, to_store
from tests.stream_processors.records import new_conversation, reset
from tests.support.samples import CONVERSATION, sample, samples

KEPT = {"TurnCompleted", "ConversationReset", "ConversationDeleted", "ConversationChanged"}


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_leaves_something_is_read(name: str) -> None:
    """The four records that the store is made of come out as they were written."""
    record = to_store(codec.encode(samples()[name]))
    assert record == samples()[name]
    assert record is not None
    assert conversation_of(record) == CONVERSATION


@pytest.mark.parametrize("name", sorted(samples().keys() - KEPT))
def test_other_records_are_passed_by(name: str) -> None:
    """Whatever else stands on the topics leaves nothing."""
    assert to_store(codec.encode(samples()[name])) is None


def test_nulls_strangers_and_unstored_turns_are_passed_by() -> None:
    """A tombstone, a type of a later program and a turn that isn't to be stored leave nothing."""
    unstored = dataclasses.replace(sample(TurnCompleted), stored=False)
    assert to_store(None) is None
    assert to_store(b'{"type":"TurnDreamt","version":1}') is None
    assert to_store(codec.encode(unstored)) is None


@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b"[]",
        codec.encode(dataclasses.replace(sample(TurnCompleted), tenant=None)),
        codec.encode(dataclasses.replace(sample(TurnCompleted), conversation="conv_1")),
        codec.encode(dataclasses.replace(sample(TurnCompleted), conversation=new_conversation())),
        codec.encode(reset(new_conversation())),
    ],
)
def test_what_ought_to_be_readable_is_refused(value: bytes) -> None:
    """Broken bytes and records without an owner, or a reset without its epoch, are for a person."""
    with pytest.raises(ContractError) as refused:
        to_store(value)
    letter = dead_letter(value, Source(topics.TURNS, 1, 2), "2026-01-31T12:00:00.000Z", refused.value)
    assert (letter.id, letter.error) == ("persistence.chat.turns.1.2", str(refused.value))


def test_a_reset_of_the_gate_is_read() -> None:
    """With its epoch a reset is for the store."""
    record = reset(new_conversation(), epoch=3)
    assert isinstance(to_store(codec.encode(record)), ConversationReset)
