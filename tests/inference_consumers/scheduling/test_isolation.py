"""Alone means alone, and everybody gets there."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inference_consumers.scheduling.isolation import Isolation
from schemas.turns import Source

A, B, C = (Source("inference.default", 0, number) for number in range(3))


def test_the_engine_empties_before_one_is_alone() -> None:
    """While somebody wants to be alone nothing else goes in; what runs runs on, and the last to leave lets it in."""
    engine = Isolation()
    for each in (A, B, C):
        engine.enter(each)
    engine.want(B)
    assert not engine.is_open
    assert engine.admit() is None
    engine.leave(A)
    assert engine.admit() is None
    engine.leave(C)
    assert engine.admit() == B
    assert engine.alone == B
    assert not engine.is_open
    engine.leave(B)
    assert engine.is_open


def test_the_suspected_follow_one_another() -> None:
    """One at a time, in the order of their wishes, before the others go on."""
    engine = Isolation()
    for each in (A, B, C):
        engine.enter(each)
        engine.want(each)
    order = []
    while (admitted := engine.admit()) is not None:
        assert engine.admit() is None
        order.append(admitted)
        engine.leave(admitted)
    assert order == [A, B, C]
    assert engine.is_open


def test_a_wish_can_be_given_up() -> None:
    """A turn that is stopped while it waits keeps nobody out."""
    engine = Isolation()
    engine.enter(A)
    engine.enter(B)
    engine.want(B)
    engine.leave(B)
    assert engine.is_open


def test_who_is_alone_may_ask_again() -> None:
    """An attempt that was lost begins another one in the same place."""
    engine = Isolation()
    engine.want(A)
    assert engine.admit() == A
    engine.want(A)
    assert engine.alone == A
    assert engine.admit() is None


class Engine(RuleBasedStateMachine):
    """Any order of entering, wishing and leaving."""

    sources = st.builds(Source, st.just("t"), st.just(0), st.integers(0, 5))

    def __init__(self) -> None:
        super().__init__()
        self.isolation = Isolation()
        self.inside: set[Source] = set()
        self.wanting: list[Source] = []

    @rule(source=sources)
    def goes_in(self, source: Source) -> None:
        if self.isolation.is_open and source not in self.inside:
            self.isolation.enter(source)
            self.inside.add(source)

    @rule(source=sources)
    def wants(self, source: Source) -> None:
        if source in self.inside and source != self.isolation.alone:
            self.isolation.want(source)
            self.inside.discard(source)
            self.wanting.append(source)
            self._admit()

    @rule(source=sources)
    def leaves(self, source: Source) -> None:
        self.isolation.leave(source)
        self.inside.discard(source)
        if source in self.wanting:
            self.wanting.remove(source)
        self._admit()

    def _admit(self) -> None:
        admitted = self.isolation.admit()
        if admitted is not None:
            assert admitted == self.wanting.pop(0)
            self.inside.add(admitted)

    @invariant()
    def alone_is_alone(self) -> None:
        """Nobody beside it."""
        if self.isolation.alone is not None:
            assert self.inside == {self.isolation.alone}

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """An empty engine has let in whoever wanted it."""
        assert self.inside or not self.wanting


test_any_order_keeps_the_rule = Engine.TestCase
