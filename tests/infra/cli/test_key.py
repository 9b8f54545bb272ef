"""API keys from the command line, against a real Kafka."""

import pytest

from infra.cli.main import main
from schemas import identity


@pytest.fixture(autouse=True)
def _broker(kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("PARLEY_KAFKA_TOPIC_PREFIX", topic_prefix)
    assert main(["topics", "apply"]) == 0


def test_a_key_is_printed_alone_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Created, listed without its secret, revoked, still listed as such."""
    capsys.readouterr()
    assert main(["key", "create", "--tenant", "acme", "--tier", "gold", "--label", "laptop"]) == 0
    key = capsys.readouterr().out.strip()
    key_id = identity.key_id_of(key)
    assert key_id is not None
    assert main(["key", "list"]) == 0
    listed = capsys.readouterr().out
    assert f"{key_id}  acme    gold  read write" in listed
    assert "valid" in listed
    assert key not in listed
    assert main(["key", "revoke", key_id]) == 0
    assert main(["key", "list"]) == 0
    assert "revoked" in capsys.readouterr().out


def test_an_unknown_key_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Revoking what isn't there is status 2 and one line."""
    capsys.readouterr()
    assert main(["key", "revoke", "nope"]) == 2
    assert capsys.readouterr().err == "parley: there is no key nope: see `parley key list`\n"
