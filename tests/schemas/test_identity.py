import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import identity
from schemas.errors import Unauthenticated
from schemas.identity import Principal, Ticket
from schemas.ids import ConversationId

SECRET = b"a secret of tests"
ANNA = Principal(tenant="acme", key_id="k1", tier="standard", scopes=("read", "write"), user="anna")
TICKET = Ticket(id="t1", principal=ANNA, expires_at_ms=1000)


def test_a_ticket_reads_back_as_it_was_written() -> None:
    """What was signed comes out again, unchanged."""
    assert identity.read_ticket(identity.write_ticket(TICKET, SECRET), SECRET, 999) == TICKET


def test_a_ticket_ends_at_its_instant() -> None:
    """At its expiry a ticket is good no more."""
    with pytest.raises(Unauthenticated):
        identity.read_ticket(identity.write_ticket(TICKET, SECRET), SECRET, 1000)


@given(st.text(max_size=200))
def test_no_text_of_others_is_a_ticket(text: str) -> None:
    """Whatever a stranger sends is refused as unauthenticated, never with another error."""
    for candidate in (text, f"pt_{text}"):
        with pytest.raises(Unauthenticated):
            identity.read_ticket(candidate, SECRET, 0)


@given(st.data())
def test_a_changed_ticket_is_refused(data: st.DataObject) -> None:
    """Any other character anywhere in a ticket breaks its signature."""
    text = identity.write_ticket(TICKET, SECRET)
    place = data.draw(st.integers(3, len(text) - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_").filter(lambda each: each != text[place]))
    with pytest.raises(Unauthenticated):
        identity.read_ticket(text[:place] + letter + text[place + 1 :], SECRET, 0)


def test_another_secret_makes_another_ticket() -> None:
    """A ticket signed elsewhere opens nothing here."""
    with pytest.raises(Unauthenticated):
        identity.read_ticket(identity.write_ticket(TICKET, b"theirs"), SECRET, 0)


def test_a_key_tells_its_id_and_hash() -> None:
    """The id stands in the key's text; its hash is that of the whole text."""
    key = identity.write_key("k-1", "s" * 32)
    assert identity.key_id_of(key) == "k-1"
    assert identity.key_hash(key) != identity.key_hash(identity.write_key("k-1", "t" * 32))
    assert identity.key_id_of("sk-proj-other") is None


def test_a_ticket_can_only_lose_rights() -> None:
    """Narrowing never grants a scope that the key doesn't have."""
    one = ConversationId("conv_" + "0" * 32)
    narrow = identity.narrowed(ANNA, user=None, conversations=(one,), scopes=("read", "admin"))
    assert narrow.scopes == ("read",)
    assert narrow.user == "anna"
    assert narrow.reaches(one, tenant="acme", user="anna")
    assert not narrow.reaches(ConversationId("conv_" + "1" * 32), tenant="acme", user="anna")


def test_other_tenants_and_users_are_out_of_reach() -> None:
    """A principal with a user reaches only that user's conversations, and only in its tenant."""
    one = ConversationId("conv_" + "0" * 32)
    assert not ANNA.reaches(one, tenant="acme", user="berta")
    assert not ANNA.reaches(one, tenant="other", user="anna")
