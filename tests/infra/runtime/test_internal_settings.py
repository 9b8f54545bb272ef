"""The secret that services share can't be guessed."""

import pytest

from infra.runtime.internal_settings import InternalSettings


def test_a_long_secret_is_taken() -> None:
    """A secret of 16 characters serves."""
    assert InternalSettings(token="0123456789abcdef").token == "0123456789abcdef"


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_a_short_secret_is_refused(token: str) -> None:
    """A secret that could be tried out is refused by name."""
    with pytest.raises(ValueError, match="token: must have at least 16 characters"):
        InternalSettings(token=token)
