"""The client's half of a fetch session against a model of the broker's half."""

from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.tailer.session import BAD_SESSION_EPOCH, SESSION_NOT_FOUND, Ask, FetchSession, Key

A, B = ("a", 0), ("b", 1)


class Broker:
    """What a broker keeps of a session (kafka.server.FetchSession), and nothing more."""

    def __init__(self) -> None:
        self.sessions: dict[int, dict[Key, int]] = {}
        self.epochs: dict[int, int] = {}
        self.next_id = 100

    def answer(self, ask: Ask) -> tuple[int, int]:
        """The session id and error it answers with."""
        if ask.epoch == 0:
            self.sessions.pop(ask.session_id, None)
            self.next_id += 1
            self.sessions[self.next_id] = {one.key: one.offset for one in ask.wanted}
            self.epochs[self.next_id] = 1
            return self.next_id, 0
        if ask.session_id not in self.sessions:
            return 0, SESSION_NOT_FOUND
        if ask.epoch != self.epochs[ask.session_id]:
            return 0, BAD_SESSION_EPOCH
        members = self.sessions[ask.session_id]
        members.update({one.key: one.offset for one in ask.wanted})
        for key in ask.forgotten:
            members.pop(key, None)
        self.epochs[ask.session_id] += 1
        if not members:
            del self.sessions[ask.session_id]
            return 0, 0
        return ask.session_id, 0


def test_a_request_names_only_what_changed() -> None:
    """The first request names all; later ones only members that moved or came, and those that left."""
    session = FetchSession()
    session.put(A, 1, 10)
    session.put(B, 2, 10)
    first = session.ask()
    assert (first.session_id, first.epoch) == (0, 0)
    assert {one.key for one in first.wanted} == {A, B}
    assert session.answered(7, 0)
    assert (session.ask().wanted, session.epoch) == ([], 1)
    session.answered(7, 0)
    session.put(A, 5, 10)
    session.drop(B)
    ask = session.ask()
    assert [(one.key, one.offset) for one in ask.wanted] == [(A, 5)]
    assert ask.forgotten == (B,)
    assert ask.epoch == 2


def test_a_member_put_back_is_not_forgotten() -> None:
    """What left and came back between two requests is named with its offset and not as forgotten."""
    session = FetchSession()
    session.put(A, 1, 10)
    session.put(B, 1, 10)
    session.ask()
    session.answered(7, 0)
    session.drop(B)
    session.put(B, 9, 10)
    ask = session.ask()
    assert [(one.key, one.offset) for one in ask.wanted] == [(B, 9)]
    assert ask.forgotten == ()


def test_a_lost_session_is_asked_anew() -> None:
    """After a session error everything is named again, in a new session."""
    session = FetchSession()
    session.put(A, 1, 10)
    session.ask()
    session.answered(7, 0)
    session.ask()
    assert not session.answered(0, SESSION_NOT_FOUND)
    ask = session.ask()
    assert (ask.session_id, ask.epoch, [one.key for one in ask.wanted]) == (0, 0, [A])


def test_after_no_answer_the_old_session_is_ended() -> None:
    """A full request after a failure names the old session, so that the broker lets it go."""
    session = FetchSession()
    session.put(A, 1, 10)
    session.ask()
    session.answered(7, 0)
    session.ask()
    session.failed()
    ask = session.ask()
    assert (ask.session_id, ask.epoch) == (7, 0)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.sampled_from(["ask", "lose", "evict"]), st.just(""), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(ACTIONS)
def test_the_broker_ends_with_our_members(actions: list[tuple[str, str, int]]) -> None:
    """Whatever comes, goes, is lost on the way or evicted: at most two requests later the broker reads what we want."""
    broker, session = Broker(), FetchSession()
    wanted: dict[Key, int] = {}
    for what, name, offset in [*actions, ("put", "e", 1), ("ask", "", 0), ("ask", "", 0)]:
        key = (name, 0)
        if what == "put":
            session.put(key, offset, 10)
            wanted[key] = offset
        elif what == "drop":
            session.drop(key)
            wanted.pop(key, None)
        elif what == "evict":
            broker.sessions.clear()
        elif len(session):
            answer = broker.answer(session.ask())
            if what == "lose":
                session.failed()
            else:
                session.answered(*answer)
        else:
            session.failed()
    assert broker.sessions[session.session_id] == wanted
