"""Where things lie."""

from pathlib import Path

import pytest

from infra.local.places import cache_dir, default_data_dir


def test_the_cache_follows_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """PARLEY_CACHE_DIR wins over XDG_CACHE_HOME, which wins over the home; a relative XDG path is ignored."""
    monkeypatch.delenv("PARLEY_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path("/home/x/.cache/parley")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_dir() == Path("/c/parley")
    monkeypatch.setenv("PARLEY_CACHE_DIR", "/mine")
    assert cache_dir() == Path("/mine")


def test_the_data_follows_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME names the place of data."""
    monkeypatch.setenv("XDG_DATA_HOME", "/d")
    assert default_data_dir() == Path("/d/parley")
