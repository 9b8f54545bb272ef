from dataclasses import replace

from producers.directory.conversations import Conversations
from schemas import ids
from schemas.records import ConversationChanged
from tests.producers.support.asked import AT, CONVERSATION

ONE = ConversationChanged(
    id="c.1", at=AT, tenant="acme", conversation=CONVERSATION, user="anna", created_at=AT, metadata={"k": "1"}
)
OTHER = replace(ONE, conversation=ids.conversation_id("1" * 32), user="berta")


def test_the_newest_record_is_what_is_known() -> None:
    """A record that arrives late changes nothing: this gateway's own change may be ahead of the topic."""
    known = Conversations()
    newer = replace(ONE, at="2026-01-31T12:00:01.000Z", metadata={"k": "2"})
    for record in (newer, ONE):
        known.put(record)
    assert known.get(CONVERSATION) == newer


def test_they_are_found_by_whose_they_are() -> None:
    """A user has its own, a tenant all of its users', another tenant none."""
    known = Conversations()
    for record in (ONE, OTHER):
        known.put(record)
    assert known.owned("acme", "anna") == [ONE]
    assert set(known.users("acme")) == {"anna", "berta"}
    assert len(known.owned("acme", None)) == 2
    assert known.owned("other", None) == []


def test_a_retired_one_stays_retired() -> None:
    """A record that was made without knowing of it, older or newer, keeps its words and takes nothing back."""
    later = replace(OTHER, at="2026-06-01T00:00:00.000Z", metadata={"v": "2"})
    for log in ((replace(OTHER, retired=True), later), (later, replace(OTHER, retired=True))):
        known = Conversations()
        known.put(OTHER)
        for record in log:
            known.put(record)
        assert known.get(ids.conversation_id("1" * 32)) == replace(later, retired=True)


def test_deleted_and_retired_ones() -> None:
    """A deleted one is listed no more and is still known to be deleted; a retired one is listed as before."""
    known = Conversations()
    known.put(ONE)
    known.put(OTHER)
    known.put(replace(OTHER, retired=True))
    assert known.owned("acme", None) == [ONE, replace(OTHER, retired=True)]
    gone = replace(ONE, deleted=True)
    known.put(gone)
    known.put(gone)
    assert (known.owned("acme", "anna"), known.get(CONVERSATION)) == ([], gone)
    known.put(replace(ONE, at="2026-06-01T00:00:00.000Z"))  # a gateway that hadn't heard
    assert known.owned("acme", "anna") == []


def test_the_latest_activity_counts() -> None:
    """Of what the store says and what was seen here the later counts; deletion forgets it."""
    known = Conversations()
    known.put(ONE)
    assert known.active_at(ONE, None) == AT
    known.touch(CONVERSATION, "2026-01-31T12:00:05.000Z")
    known.touch(CONVERSATION, "2026-01-31T12:00:04.000Z")
    assert known.active_at(ONE, "2026-01-31T12:00:03.000Z") == "2026-01-31T12:00:05.000Z"
    assert known.active_at(ONE, "2026-01-31T12:00:06.000Z") == "2026-01-31T12:00:06.000Z"
    known.put(replace(ONE, deleted=True))
    assert known.active_at(ONE, None) == AT
