"""The tools that courses share."""

from dataclasses import FrozenInstanceError

import pytest

from tests.inference_consumers.generating.courses import Stage


def test_courses_cannot_change_what_they_share() -> None:
    """A course that changed a tool would change it for all others."""
    tools = Stage(None).tools()
    with pytest.raises(FrozenInstanceError):
        tools.merge_ms = 1.0  # type: ignore[misc]
