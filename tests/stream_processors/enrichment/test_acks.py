from hypothesis import given
from hypothesis import strategies as st

from stream_processors.enrichment.acks import AckOrder


class _Item:
    pass


@given(st.permutations(range(8)))
def test_acks_come_in_the_order_of_the_partition(finished: list[int]) -> None:
    """However inputs finish, they are acknowledged in order, each once, and none before those before it."""
    order: AckOrder[_Item] = AckOrder()
    items = [_Item() for _ in range(8)]
    for item in items:
        order.begin(0, item)
    acked: list[_Item] = []
    for number in finished:
        acked += order.done(0, items[number])
        assert acked == items[: len(acked)]
    assert acked == items
    assert len(order) == 0


def test_partitions_do_not_wait_for_each_other() -> None:
    """An unfinished input holds back its own partition only."""
    order: AckOrder[_Item] = AckOrder()
    slow, quick = _Item(), _Item()
    order.begin(0, slow)
    order.begin(1, quick)
    assert order.done(1, quick) == [quick]
    assert len(order) == 1
