"""Files that only their owner may read."""

import os
from pathlib import Path


def write_secret(file: Path, text: str) -> None:
    """Put one line, whole or not at all."""
    beside = file.with_name(file.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
        out.write(text + "\n")
    beside.replace(file)


def read_secret(file: Path) -> str:
    """Return the line."""
    return file.read_text(encoding="ascii").strip()
