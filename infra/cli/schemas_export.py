"""`parley schemas export DIR`: the JSON Schema of every record and frame, one file each."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

from schemas import codec, frames
from schemas.errors import SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`export DIR`."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    export = acts.add_parser("export", help="write one file for each record and frame", allow_abbrev=False)
    export.add_argument("directory", type=Path, metavar="DIR", help="made if it isn't there")


def run(arguments: argparse.Namespace) -> int:
    """Write the files."""
    folder: Path = arguments.directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        for name, kind in _kinds():
            text = json.dumps(codec.json_schema(kind), indent=2, sort_keys=True)
            (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
            count += 1
    except OSError as error:
        raise SettingsError(f"{folder} can't be written: {error.strerror}") from error
    sys.stdout.write(f"wrote {count} schemas to {folder}\n")
    return 0


def _kinds() -> Iterator[tuple[str, type]]:
    """Records by type and version, frames behind `frame.`."""
    for name, record in sorted(codec.RECORDS.items()):
        yield f"{name}.1", record
    for frame_name, kind in sorted(vars(frames).items()):
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == frames.__name__:
            yield f"frame.{frame_name}", kind
