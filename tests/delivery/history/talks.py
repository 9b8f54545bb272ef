"""Logs as a gate and workers write them, with the rows that follow from them: for properties of histories."""

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from schemas import ids, projection
from schemas.fold import TurnFold
from schemas.records import LogRecord, TurnCompleted
from schemas.turns import LogAddress
from tests.support.logs import accepted, delta, ended, started
from tests.support.samples import CONVERSATION

LOG = LogAddress(f"conversation.{ids.conversation_hex(CONVERSATION)}", 0)


@dataclass
class Written:
    """A log, and the row of each ended turn by its place `n`."""

    records: list[LogRecord] = field(default_factory=list)
    rows: dict[int, TurnCompleted] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)


@st.composite
def conversations(draw: st.DrawFn) -> Written:
    """Up to eight turns: some wait while others speak, some end unanswered before those; the last ones may be open."""
    written = Written()
    turns = [ids.turn_id(CONVERSATION, f"{number:032x}") for number in range(1, draw(st.integers(1, 8)) + 1)]
    starts: dict[int, int | None] = {}
    accepted_count = 0
    completed: list[int] = []

    def accept() -> None:
        nonlocal accepted_count
        accepted_count += 1
        starts[accepted_count] = completed[-1] if completed else None
        record = accepted(turns[accepted_count - 1], accepted_count)
        written.records.append(replace(record, n=accepted_count, text=f"question {accepted_count}", stored=True))

    def finish(number: int, attempt: int, count: int) -> None:
        turn = turns[number - 1]
        end = ended(turn, attempt, count)
        question = f"question {number}"
        written.records.append(replace(end, n=number, input_text=question, log_start=starts[number], stored=True))
        fold = TurnFold(turn)
        for offset, record in enumerate(written.records):
            fold.take(record, offset)
        written.rows[number] = projection.completed(fold, LOG)
        written.ends[number] = len(written.records) - 1
        completed.append(len(written.records) - 1)

    for number, turn in enumerate(turns, start=1):
        if number in written.ends:
            continue  # ended while it waited
        while accepted_count < number or (accepted_count < len(turns) and draw(st.integers(0, 3)) == 0):
            accept()
        count = draw(st.integers(0, 3))
        written.records.append(started(turn, 1))
        for seq in range(count):
            written.records.append(delta(turn, 1, seq, f"a{number}.{seq} "))
            if draw(st.integers(0, 5)) == 0:
                written.records.append(delta(turn, 1, seq, "repeat"))
            if accepted_count < len(turns) and draw(st.integers(0, 5)) == 0:
                accept()
                if draw(st.booleans()):
                    finish(accepted_count, 0, 0)
        if number == len(turns) and draw(st.booleans()):
            break  # still speaking
        finish(number, 1, count)
        if draw(st.integers(0, 4)) == 0:
            # A successor of the gate says again what it isn't sure to have said.
            written.records.append(replace(accepted(turn, number), n=number, stored=True))
    return written
