import random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import TurnId
from schemas.turns import Reason
from stream_processors.enrichment.inputs import Allowed, Completed, StopAsked
from stream_processors.enrichment.state import State
from stream_processors.enrichment.state_codec import pack
from tests.stream_processors.enrichment.simulation import World, arrivals, turn_id


def _run(seed: int, *, faults: bool) -> World:
    chance = random.Random(seed)
    world = World(chance)
    waiting = arrivals(chance, chance.randint(1, 5))
    requested = [each for each in waiting if isinstance(each, Allowed)]
    for _ in range(400):
        if waiting and chance.random() < 0.2:
            world.topics["moderated"].append(waiting.pop(0))
        elif chance.random() < 0.04 and requested:
            named = chance.choice(requested).turn if chance.random() < 0.7 else None
            world.topics["control"].append(StopAsked(turn=named, offset=len(world.topics["control"])))
        elif faults and chance.random() < 0.02:
            world.alive = not world.alive
        elif chance.random() < 0.03:
            world.tick(chance.choice((500, 11_000, 61_000)))
        else:
            world.step(faults=faults)
        assert sum(turn.status == "a" for turn in (world.state.turns if world.state else ())) <= 1
    world.alive = True
    world.topics["moderated"] += waiting
    for _ in range(60):
        while world.step(faults=False):
            pass
        world.tick(31_000)
    return world


def _check(world: World) -> None:
    requested = {each.turn for each in world.topics["moderated"] if isinstance(each, Allowed)}
    assert not world.problems, world.problems
    for turn in requested:
        fold = world.fold(turn)
        assert fold.ended is not None, f"{turn[-2:]} never ended; {world.state}"
        completed = {
            (each.n, each.reason, each.log_end)
            for each in world.topics["turns"]
            if isinstance(each, Completed) and each.turn == turn
        }
        assert completed == {(fold.ended.n, fold.ended.reason, fold.end_offset)}
    assert world.state is None or not world.state.turns, world.state
    _check_order(world, requested)


def _check_order(world: World, requested: set[TurnId]) -> None:
    highest = -1
    shown: dict[TurnId, int] = {}
    for record in world.log:
        if record.kind == "A" and record.order > highest:
            highest = record.order
            assert record.turn not in shown, "a turn is shown twice"
            shown[record.turn] = record.n
    assert set(shown) == requested, "every reader shows every turn"
    places = [n for n in shown.values() if n > 0]
    assert places == sorted(places), "places rise in the order of acceptance"
    assert len(set(places)) == len(places), "no two turns have one place"


@settings(max_examples=120)
@given(st.integers(min_value=0, max_value=2**40))
def test_every_turn_ends_once_in_order_without_faults(seed: int) -> None:
    """However inputs of the three topics interleave, each turn ends once, in its place, one at a time."""
    _check(_run(seed, faults=False))


@settings(max_examples=200)
@given(st.integers(min_value=0, max_value=2**40))
def test_every_turn_ends_once_though_the_gate_dies(seed: int) -> None:
    """Crashes between state, effects and ack, dying workers and empty pools change nothing of that."""
    _check(_run(seed, faults=True))


@settings(max_examples=25)
@given(st.integers(min_value=0, max_value=2**40))
def test_states_stay_small(seed: int) -> None:
    """Whatever came, an idle conversation's state is at most 4 KB, and each open turn adds 300 bytes at most."""
    chance = random.Random(seed)
    world = World(chance)
    world.topics["moderated"] += arrivals(chance, 40)
    sizes = [0]
    for _ in range(600):
        world.step(faults=True)
        if isinstance(world.state, State):
            sizes.append(len(pack(world.state)) - 300 * len(world.state.turns))
    assert max(sizes) <= 4096


def test_a_stop_before_its_turn_ends_it() -> None:
    """A stop that overtakes its turn's request ends the turn as cancelled, without a dispatch."""
    world = World(random.Random(1))
    world.topics["control"].append(StopAsked(turn=turn_id(1), offset=0))
    world.take("control")
    world.topics["moderated"] += [each for each in arrivals(random.Random(5), 1) if isinstance(each, Allowed)][:1]
    while world.step(faults=False):
        pass
    ended = world.fold(turn_id(1)).ended
    assert ended is not None
    assert ended.reason in (Reason.CANCELLED, Reason.REFUSED)
    assert not world.inference
