"""Where things lie on this machine: what is loaded once per user, and the data of one `parley up`."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the per-user cache: `PARLEY_CACHE_DIR`, else `parley` under `XDG_CACHE_HOME`, else `~/.cache/parley`."""
    named = os.environ.get("PARLEY_CACHE_DIR")
    if named:
        return Path(named).expanduser().absolute()
    return _xdg("XDG_CACHE_HOME", ".cache") / "parley"


def default_data_dir() -> Path:
    """Return the data directory of a user's `up`: `parley` under `XDG_DATA_HOME`, else `~/.local/share/parley`."""
    return _xdg("XDG_DATA_HOME", ".local/share") / "parley"


def _xdg(name: str, under_home: str) -> Path:
    """The XDG rule: a relative path in the variable is to be ignored."""
    named = Path(os.environ.get(name) or "")
    return named if named.is_absolute() else Path.home() / under_home
