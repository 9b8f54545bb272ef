"""The default model for tests, made ready once a user."""

from pathlib import Path

import pytest

from infra.local.places import cache_dir
from infra.runtime.default_model import ensure_default_model


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The directory of SmolLM2-135M-Instruct."""
    return ensure_default_model(cache_dir())
