"""A position leads any node to the same place with the same state."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids, position, topics
from schemas.errors import ContractError
from schemas.fold import ConversationFold
from schemas.records import LogRecord
from schemas.turns import LogAddress
from tests.support.logs import wild_logs
from tests.support.samples import CONVERSATION

LOGS = st.one_of(
    st.just(LogAddress(topics.own_topic(CONVERSATION).name, 0)),
    st.builds(LogAddress, st.sampled_from([topics.LANES, topics.UNSTORED_LANES]), st.integers(0, 255)),
)


@given(LOGS, wild_logs(), st.integers(0, 40))
def test_going_on_from_a_position_is_as_if_never_cut(log: LogAddress, records: list[LogRecord], cut: int) -> None:
    """At every cut, the fold read back from the position's string takes what the uncut fold takes."""
    fold = ConversationFold()
    for record in records[:cut]:
        fold.take(record)
    place = position.read(position.write(log, cut, fold), CONVERSATION)
    assert (place.log, place.offset, place.fold) == (log, cut, fold)
    assert [place.fold.take(record) for record in records[cut:]] == [fold.take(record) for record in records[cut:]]


@given(st.text(max_size=80))
def test_strangers_are_refused(text: str) -> None:
    """Any text is either a position or refused as one; nothing else happens."""
    with contextlib.suppress(ContractError):
        position.read(text, CONVERSATION)


@pytest.mark.parametrize(
    "text", ["", "1~o~0~0~0", "2~o~0~0~0~", "1~x~0~0~0~", "1~o~0~a~0~", "1~o~0~0~0~zz.1.2", "1" * 20_000]
)
def test_broken_positions_are_refused(text: str) -> None:
    """A cut, foreign or invented position is refused."""
    with pytest.raises(ContractError):
        position.read(text, CONVERSATION)


def test_a_position_of_an_own_topic_reads_its_own_conversation_only() -> None:
    """Given for another conversation, an own topic's position leads to that other's topic, never to the first one's."""
    text = position.write(LogAddress(topics.own_topic(CONVERSATION).name, 0), 5, ConversationFold())
    other = ids.conversation_id("f" * 32)
    assert position.read(text, other).log.topic == topics.own_topic(other).name
