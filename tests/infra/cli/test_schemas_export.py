"""JSON Schemas on disk."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from infra.cli.main import main
from schemas import codec


def test_every_record_has_a_schema_that_is_one(tmp_path: Path) -> None:
    """One file for each type and version, each a valid schema; so have the frames."""
    assert main(["schemas", "export", str(tmp_path / "new")]) == 0
    files = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "new").glob("*.json")}
    assert {f"{name}.1" for name in codec.RECORDS} <= set(files)
    assert any(name.startswith("frame.") for name in files)
    for schema in files.values():
        Draft202012Validator.check_schema(schema)
