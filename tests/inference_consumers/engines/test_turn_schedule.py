from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.engines.turn_schedule import BLOCK_TOKENS, Turn, TurnSchedule, blocks, common_prefix

ROOMY = 100 * BLOCK_TOKENS


@dataclass
class FakeMemory:
    """Stands for a cache; knows whose tokens it holds."""

    copied_tokens: int = 0

    def copied(self, tokens: int) -> "FakeMemory":
        return FakeMemory(tokens)


def _turn(name: str, tokens: int = 10, first: int = 0, priority: int = 0) -> Turn:
    return Turn(id=name, ids=list(range(first, first + tokens)), prompt_tokens=tokens, priority=priority)


def _step(schedule: TurnSchedule) -> list[tuple[str, int]]:
    """One step as the stepper does it: every turn that is read to its end gets one more token."""
    plan = schedule.plan()
    for stretch in plan:
        turn = stretch.turn
        turn.memory = turn.memory or FakeMemory()
        assert turn.computed + stretch.tokens <= turn.allocated
        is_last = stretch.is_last
        turn.computed += stretch.tokens
        if is_last:
            turn.ids.append(10**6 + len(turn.ids))
    return [(stretch.turn.id, stretch.tokens) for stretch in plan]


def test_prompts_are_read_in_stretches_beside_running_turns() -> None:
    """A long prompt takes several steps of `prefill_tokens`; the turn beside it gets its token in each."""
    schedule = TurnSchedule(4, ROOMY, 64)
    schedule.add(_turn("a", 10))
    assert _step(schedule) == [("a", 10)]
    schedule.add(_turn("b", 150))
    assert [_step(schedule) for _ in range(4)] == [
        [("a", 1), ("b", 64)],
        [("a", 1), ("b", 64)],
        [("a", 1), ("b", 22)],
        [("a", 1), ("b", 1)],
    ]


def test_a_removed_turn_is_not_in_the_next_step_and_its_slot_is_free() -> None:
    """Leaving takes one step, for running and for waiting turns, and gives the slot to the next in line."""
    schedule = TurnSchedule(1, ROOMY, 64)
    for name in ("a", "b", "c"):
        schedule.add(_turn(name))
    _step(schedule)
    schedule.remove("a")
    schedule.remove("b")
    schedule.remove("nobody")
    assert [name for name, _tokens in _step(schedule)] == ["c"]
    assert schedule.waiting == 0


def test_lower_priority_numbers_go_first() -> None:
    """The line is by priority, then by arrival."""
    schedule = TurnSchedule(1, ROOMY, 64)
    schedule.add(_turn("later", priority=1))
    schedule.add(_turn("first"))
    assert _step(schedule)[0][0] == "first"


def test_an_ended_turns_memory_serves_the_next_prompt_of_its_conversation() -> None:
    """A prompt that begins with an ended turn's tokens reads only what is new."""
    schedule = TurnSchedule(2, ROOMY, 64)
    first = _turn("a", 40)
    schedule.add(first)
    _step(schedule)
    schedule.remove("a")
    assert schedule.kept_tokens == BLOCK_TOKENS
    longer = _turn("b", 60)
    schedule.add(longer)
    assert _step(schedule) == [("b", 20)]
    assert longer.cached == 40
    assert longer.memory is first.memory
    assert schedule.kept_tokens == 0


def test_what_only_begins_alike_is_copied_not_taken() -> None:
    """Two conversations with the same instructions share their reading, and both keep their own memory."""
    schedule = TurnSchedule(2, ROOMY, 64)
    schedule.add(_turn("a", 60))
    _step(schedule)
    schedule.remove("a")
    other = _turn("b", 60)
    other.ids[20:] = range(500, 540)
    schedule.add(other)
    assert _step(schedule) == [("b", 40)]
    assert other.memory.copied_tokens == 20
    assert schedule.kept_tokens == BLOCK_TOKENS


def test_the_same_prompt_again_reads_one_token() -> None:
    """One token is always left to compute: without it there would be nothing to draw from."""
    schedule = TurnSchedule(2, ROOMY, 64)
    schedule.add(_turn("a", 40))
    _step(schedule)
    schedule.remove("a")
    schedule.add(_turn("b", 40))
    assert _step(schedule) == [("b", 1)]


def test_kept_prompts_give_way_to_running_turns() -> None:
    """Memory kept for later is forgotten, the oldest first, when a turn needs it."""
    schedule = TurnSchedule(4, 3 * BLOCK_TOKENS, 1000)
    for place in range(3):
        schedule.add(_turn(str(place), 30, first=1000 * place))
        _step(schedule)
        schedule.remove(str(place))
    assert schedule.kept_tokens == 3 * BLOCK_TOKENS
    schedule.add(_turn("long", 2 * BLOCK_TOKENS - 1, first=9000))
    assert _step(schedule)[0][0] == "long"
    assert schedule.kept_tokens == BLOCK_TOKENS


def test_when_memory_ends_the_last_in_line_is_read_again_later() -> None:
    """Two turns grow into memory for one: the later gives way and comes back whole when the first has ended."""
    schedule = TurnSchedule(2, 3 * BLOCK_TOKENS, 1000)
    first, second = _turn("a", BLOCK_TOKENS - 10), _turn("b", BLOCK_TOKENS - 20, first=5000)
    schedule.add(first)
    schedule.add(second)
    seen = [tuple(name for name, _tokens in _step(schedule)) for _ in range(BLOCK_TOKENS + 60)]
    assert ("a", "b") in seen
    assert seen[-1] == ("a",)
    told = list(second.ids)
    schedule.remove("a")
    assert _step(schedule) == [("b", len(told))]
    assert second.ids[: len(told)] == told


@given(st.lists(st.one_of(st.tuples(st.integers(1, 600), st.integers(0, 2)), st.integers(0, 20)), max_size=40))
def test_memory_and_slots_are_never_exceeded_and_all_who_stay_get_on(script: list[tuple[int, int] | int]) -> None:
    """Whatever comes and goes, counts stay within their bounds and every turn that stays ends up answering."""
    schedule = TurnSchedule(3, 4 * BLOCK_TOKENS, 64)
    turns: dict[str, Turn] = {}
    for place, event in enumerate(script):
        if isinstance(event, tuple):
            turns[str(place)] = _turn(str(place), event[0], first=place % 3, priority=event[1])
            schedule.add(turns[str(place)])
        else:
            schedule.remove(str(event))
            turns.pop(str(event), None)
        _step(schedule)
        assert len(schedule.running) <= 3
        assert schedule.used_tokens + schedule.kept_tokens <= 4 * BLOCK_TOKENS
    for _ in range(2000):
        if not turns:
            break
        _step(schedule)
        for name in [name for name, turn in turns.items() if len(turn.ids) > turn.prompt_tokens]:
            schedule.remove(name)
            del turns[name]
    assert not turns


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix_counts_what_both_begin_with(one: list[int], other: list[int]) -> None:
    """The count is the definition's."""
    expected = 0
    while expected < min(len(one), len(other)) and one[expected] == other[expected]:
        expected += 1
    assert common_prefix(one, other) == expected
    assert blocks(0) == 0
    assert blocks(1) == BLOCK_TOKENS
