"""The claim's road, fed with facts: no network, no loop."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.claims.decision import Decision, Standing
from inference_consumers.claims.procedure import AppendClaim, ClaimProcedure, Denied, LogView, Owned, ReadOn, Step
from schemas.fold import TurnFold
from schemas.records import Record, TurnStarted
from schemas.turns import Source
from tests.support.logs import TURNS, delta, ended, started

TURN = TURNS[0]
MINE = Source("inference.default", 0, 7)
OTHER = Source("inference.default", 1, 3)


@dataclass
class Claimer:
    """One worker on a log that tests write to."""

    log: list[Record]
    standing: Standing = field(default_factory=lambda: Standing(dispatch=1, source=MINE, generation=5))
    name: str = "w"
    view: LogView = field(default_factory=lambda: LogView.begin(TURN, 0))
    written: int = 0

    def __post_init__(self) -> None:
        self.procedure = ClaimProcedure(self.view, self.standing, self.claim)

    def claim(self, attempt: int) -> TurnStarted:
        """A fresh record each time."""
        self.written += 1
        record = started(TURN, attempt, claim=f"{self.name}.{self.written}")
        standing = self.standing
        return replace(record, dispatch=standing.dispatch, source=standing.source, generation=standing.generation)

    def read(self, step: ReadOn) -> Step:
        """Carry a read out."""
        stop = len(self.log) if step.stop is None else step.stop
        for offset in range(self.view.next_offset, stop):
            if self.procedure.saw(offset, self.log[offset]):
                break
        return self.procedure.read()

    def append(self, step: AppendClaim) -> Step:
        """Carry an append out."""
        self.log.append(step.record)
        return self.procedure.appended(len(self.log) - 1)


def test_an_empty_log_is_claimed_and_owned() -> None:
    """Without a claim in the log the first is ours under attempt 1, known once it is read back."""
    worker = Claimer([])
    step = worker.procedure.begin(may_skip_reading=False)
    assert step == ReadOn(None)
    step = worker.read(step)
    assert isinstance(step, AppendClaim)
    assert step.record.attempt == 1
    step = worker.append(step)
    assert isinstance(step, ReadOn)
    assert isinstance(worker.read(step), Owned)


def test_the_first_read_may_be_left_out_only_unread() -> None:
    """Skipping assumes an empty log; a view that knows of a claim reads first, whatever was allowed."""
    worker = Claimer([])
    step = worker.procedure.begin(may_skip_reading=True)
    assert isinstance(step, AppendClaim)
    assert step.record.attempt == 1
    known = Claimer([])
    known.view.take(0, started(TURN, 1))
    assert known.procedure.begin(may_skip_reading=True) == ReadOn(None)


def test_a_claim_that_is_not_taken_is_never_written_under() -> None:
    """T1: another's claim of the same number is in the log before ours: a new one under a new number, or none."""
    worker = Claimer([])
    step = worker.procedure.begin(may_skip_reading=True)
    assert isinstance(step, AppendClaim)
    older = replace(started(TURN, 1, claim="old"), dispatch=1, source=MINE, generation=4)
    worker.log += [older, delta(TURN, 1, 0, "a")]
    step = worker.append(step)
    assert isinstance(step, ReadOn)
    step = worker.read(step)
    assert isinstance(step, AppendClaim)
    assert step.record.attempt == 2
    assert step.record.id == "w.2"
    step = worker.append(step)
    assert isinstance(step, ReadOn)
    assert isinstance(worker.read(step), Owned)
    assert worker.view.fold.text == "a"


def test_a_record_with_the_same_fields_is_not_ours() -> None:
    """T2: only the id tells our own claim: an old engine's of the same generation displaces us."""
    worker = Claimer([])
    step = worker.procedure.begin(may_skip_reading=True)
    assert isinstance(step, AppendClaim)
    worker.log.append(replace(step.record, id="the engine before"))
    step = worker.append(step)
    assert isinstance(step, ReadOn)
    again = worker.read(step)
    assert isinstance(again, AppendClaim)
    assert again.record.attempt == 2


def test_a_zombie_appends_nothing() -> None:
    """T3: what was read says zombie, so no claim is appended that could displace the owner."""
    owner = replace(started(TURN, 1, claim="o"), dispatch=1, source=MINE, generation=6)
    worker = Claimer([owner])
    assert worker.read(ReadOn()) == Denied(Decision.ZOMBIE)
    assert len(worker.log) == 1


def test_a_repeat_appends_nothing() -> None:
    """T4: another source of the same dispatch holds the turn: it stays with it."""
    owner = replace(started(TURN, 1, claim="o"), dispatch=1, source=OTHER, generation=1)
    worker = Claimer([owner])
    assert worker.read(ReadOn()) == Denied(Decision.REPEAT)


def test_an_unknown_append_is_decided_anew() -> None:
    """A claim that may have landed is never written under: what is read decides, under the next number."""
    worker = Claimer([])
    step = worker.procedure.begin(may_skip_reading=True)
    assert isinstance(step, AppendClaim)
    worker.log.append(step.record)  # it did land, but nobody told us
    step = worker.procedure.append_failed()
    assert step == ReadOn(None)
    step = worker.read(ReadOn())
    assert isinstance(step, AppendClaim)
    assert step.record.attempt == 2


def test_a_resend_that_landed_twice_is_ours_once() -> None:
    """The first record under our id decides; its second copy is read by nobody as a new claim."""
    worker = Claimer([])
    step = worker.procedure.begin(may_skip_reading=True)
    assert isinstance(step, AppendClaim)
    worker.log.append(step.record)
    step = worker.append(step)
    assert isinstance(step, ReadOn)
    assert isinstance(worker.read(step), Owned)
    assert worker.view.next_offset == 1
    assert not worker.view.take(1, worker.log[1])


def test_an_end_before_our_claim_is_projected() -> None:
    """An end that landed between read and claim is found: nothing is generated."""
    worker = Claimer([])
    step = worker.procedure.begin(may_skip_reading=True)
    assert isinstance(step, AppendClaim)
    worker.log.append(ended(TURN, 0, 0))
    step = worker.append(step)
    assert isinstance(step, ReadOn)
    assert worker.read(step) == Denied(Decision.ENDED)


@given(st.data())
def test_at_most_one_owner_speaks_at_a_time(data: st.DataObject) -> None:
    """However two workers' steps and landings interleave, owners' numbers differ and each knows what precedes."""
    log: list[Record] = []
    workers = [
        Claimer(log, Standing(dispatch=data.draw(st.integers(1, 2)), source=source, generation=generation), name)
        for name, source, generation in (("a", MINE, 5), ("b", data.draw(st.sampled_from([MINE, OTHER])), 6))
    ]
    steps: list[Step] = [worker.procedure.begin(may_skip_reading=data.draw(st.booleans())) for worker in workers]
    landed: list[int | None] = [None, None]
    for _ in range(40):
        number = data.draw(st.integers(0, 1))
        worker, step = workers[number], steps[number]
        place = landed[number]
        if isinstance(step, AppendClaim) and place is None:
            log.append(step.record)
            landed[number] = len(log) - 1
        elif isinstance(step, AppendClaim) and place is not None:
            landed[number] = None
            steps[number] = worker.procedure.appended(place)
        elif isinstance(step, ReadOn):
            steps[number] = worker.read(step)
        elif isinstance(step, Owned):
            _speak(worker, step, log)
    owned = [step.claim.attempt for step in steps if isinstance(step, Owned)]
    assert len(owned) == len(set(owned))


def _speak(worker: Claimer, owned: Owned, log: list[Record]) -> None:
    """The owner appends a delta; if readers take it, it continues a text that its writer knew."""
    reader = TurnFold(TURN)
    for offset, record in enumerate(log):
        reader.take(record, offset)
    known = worker.view.fold
    said = [record for record in log if record.id.startswith(f"{TURN}.{owned.claim.attempt}.")]
    seq = known.cursor.seq + len(said)
    record = delta(TURN, owned.claim.attempt or 0, seq, worker.name)
    if reader.take(record, len(log)):
        assert reader.text == known.text + worker.name * (len(said) + 1)
    log.append(record)
