from dataclasses import replace

from schemas.ids import TurnId
from schemas.records import TurnCompleted
from schemas.turns import ContextTurn, Message, Reason, Role
from stream_processors.enrichment.context import ContextEntry, chain, context_turn, pack_entry, texts, unpack_entry
from tests.stream_processors.enrichment.simulation import turn_id
from tests.support.samples import sample


def _entry(number: int, parent: int | None, epoch: int = 0) -> ContextEntry:
    return ContextEntry(
        turn=ContextTurn(
            turn=turn_id(number), n=number, parent=None if parent is None else turn_id(parent), epoch=epoch,
            reason=Reason.STOP, texts=(Message(Role.USER, f"t{number}"),), log_start=None, log_end=number,
        )
    )  # fmt: skip


def test_the_chain_goes_from_parent_to_parent() -> None:
    """Newest first, up to the first turn, to where another epoch begins, or to where what is known ends."""
    known = {turn_id(n): _entry(n, n - 1 if n > 1 else None, epoch=0 if n < 3 else 1) for n in range(1, 6)}

    def look_up(turn: TurnId) -> ContextEntry | None:
        return known.get(turn)

    assert [entry.turn.n for entry in chain(turn_id(5), 1, look_up) or ()] == [5, 4, 3]
    assert [entry.turn.n for entry in chain(turn_id(2), 0, look_up) or ()] == [2, 1]
    assert chain(None, 0, look_up) == ()
    assert chain(turn_id(9), 0, look_up) is None
    assert chain(turn_id(2), 1, look_up) == []
    del known[turn_id(3)]
    assert [entry.turn.n for entry in chain(turn_id(5), 1, look_up) or ()] == [5, 4]


def test_a_circle_of_parents_ends() -> None:
    """Parents that name each other are read once."""
    known = {turn_id(1): _entry(1, 2), turn_id(2): _entry(2, 1)}
    assert len(chain(turn_id(1), 0, known.get) or ()) == 2


def test_what_a_turn_leaves() -> None:
    """Refused and failed turns leave nothing, cancelled ones their partial text, unstored ones nothing."""
    assert texts(Reason.REFUSED, "q", "") == ()
    assert texts(Reason.FAILED, "q", "half") == ()
    assert [message.text for message in texts(Reason.CANCELLED, "q", "half")] == ["q", "half"]
    assert [message.text for message in texts(Reason.CANCELLED, "q", "")] == ["q"]
    assert texts(Reason.STOP, None, None) == ()


def test_entries_come_back_and_stay_below_a_record() -> None:
    """An entry's bytes give the entry back; one that is too large loses the client's history, then its texts."""
    completed = replace(sample(TurnCompleted), reason=Reason.STOP)
    entry = ContextEntry(turn=context_turn(completed, (Message(Role.USER, "h"),)), counts={"v": 7})
    assert unpack_entry(pack_entry(entry)) == entry
    assert next(message.text for message in entry.turn.texts) == "h"
    huge = ContextEntry(turn=context_turn(completed, (Message(Role.USER, "h" * 950_000),)))
    assert [message.role for message in unpack_entry(pack_entry(huge)).turn.texts] == [Role.USER, Role.ASSISTANT]
