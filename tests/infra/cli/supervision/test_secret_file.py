"""Files that only their owner may read."""

from pathlib import Path

from infra.cli.supervision.secret_file import read_secret, write_secret


def test_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    """Written anew it replaces the old one, and nobody else may read it at any moment."""
    file = tmp_path / "key"
    write_secret(file, "one")
    write_secret(file, "two")
    assert read_secret(file) == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["key"]
