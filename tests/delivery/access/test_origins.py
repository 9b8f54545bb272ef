"""Pages that may open a stream."""

import pytest

from delivery.access import origins

CASES = [
    (None, "any", (), True),
    ("https://chat.example", "chat.example:8081", (), True),
    ("https://chat.example", "other.example", (), False),
    ("https://chat.example", "other.example", ("https://chat.example",), True),
    ("http://chat.example", "other.example", ("https://chat.example",), False),
    ("http://localhost:8080", "127.0.0.1:8081", (), True),
    ("http://[::1]:8080", "127.0.0.1:8081", (), True),
    ("https://evil.example", "x", ("*",), True),
    ("null", "chat.example", (), False),
    ("https://chat.example.evil", "chat.example", (), False),
    ("https://chat.example", None, (), False),
    ("http://[bad", "chat.example", (), False),
]


@pytest.mark.parametrize(("origin", "host", "allowed", "expected"), CASES)
def test_which_pages_are_let_in(origin: str | None, host: str | None, allowed: tuple[str, ...], expected: bool) -> None:
    """No origin, the own host on any port, and what is listed; all else is foreign."""
    assert origins.is_allowed(origin, host, allowed) is expected
