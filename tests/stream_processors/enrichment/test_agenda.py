from stream_processors.enrichment.agenda import Agenda


def test_keys_come_when_their_time_has_come() -> None:
    """The last time that was set counts; 0 means never; what was taken is gone until it is put again."""
    agenda = Agenda()
    agenda.put(b"a", 10)
    agenda.put(b"b", 5)
    agenda.put(b"a", 20)
    agenda.put(b"c", 7)
    agenda.put(b"c", 0)
    assert agenda.take(10) == [b"b"]
    assert agenda.take(20) == [b"a"]
    assert agenda.take(99) == []


def test_the_heap_stays_in_proportion() -> None:
    """Setting one key's time again and again keeps no memory of the old ones."""
    agenda = Agenda()
    for number in range(1, 5000):
        agenda.put(b"a", number)
    assert len(agenda) == 1
    assert len(agenda._heap) < 200
    assert agenda.take(5000) == [b"a"]
