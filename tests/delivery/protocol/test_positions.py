"""Sealed positions come back as they went, for their own conversation and scope, and no others."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.protocol.positions import Seal
from schemas.fold import ConversationFold, Cursor
from schemas.ids import ConversationId
from schemas.turns import LogAddress
from tests.delivery.protocol.readings import LOG
from tests.support.logs import TURNS
from tests.support.samples import CONVERSATION

SEAL = Seal(b"secret")
FOLD = ConversationFold(7, {TURNS[0]: Cursor(2, 5)})


@given(st.integers(-1, 2**40), st.integers(-1, 2**40))
def test_a_position_comes_back(offset: int, order: int) -> None:
    """What was written is read, on any node that shares the secret."""
    fold = ConversationFold(order, FOLD.open_turns)
    text = SEAL.write(LOG, offset, fold, CONVERSATION)
    found = Seal(b"secret").read(text, CONVERSATION)
    assert found is not None
    assert (found.log, found.offset, found.fold) == (LOG, offset, fold)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing that a client gives raises."""
    assert SEAL.read(text, CONVERSATION) is None


def test_a_position_is_good_where_it_was_made() -> None:
    """Another conversation, another scope, another secret and any changed character are refused."""
    text = SEAL.write(LOG, 3, FOLD, CONVERSATION, "turn")
    assert SEAL.read(text, CONVERSATION, "turn") is not None
    assert SEAL.read(text, CONVERSATION) is None
    assert SEAL.read(text, ConversationId("conv_" + "1" * 32), "turn") is None
    assert Seal(b"other").read(text, CONVERSATION, "turn") is None
    for place in range(len(text)):
        assert SEAL.read(text[:place] + "!" + text[place + 1 :], CONVERSATION, "turn") is None


def test_a_lanes_position_names_its_lane() -> None:
    """The log is part of what was sealed."""
    lane = LogAddress("conversations", 3)
    found = SEAL.read(SEAL.write(lane, 3, FOLD, CONVERSATION), CONVERSATION)
    assert found is not None
    assert found.log == lane
