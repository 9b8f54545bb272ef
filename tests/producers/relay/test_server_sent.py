from producers.relay import server_sent


def test_events_are_named_lines() -> None:
    """An event bears its type as its name; data alone bears none; both end with an empty line."""
    assert server_sent.event({"type": "x", "text": "a\nb"}) == b'event: x\ndata: {"type":"x","text":"a\\nb"}\n\n'
    assert server_sent.data({"a": 1}) == b'data: {"a":1}\n\n'
    assert server_sent.WAIT.startswith(b":")
