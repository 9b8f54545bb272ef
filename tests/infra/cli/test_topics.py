"""The table of topics, held against a real Kafka."""

import pytest

from infra.cli.main import main
from infra.cli.topics import refuse_other_partitions, tables_topics
from infra.runtime.kafka_topics import Applied, Difference
from schemas.errors import SettingsError


@pytest.fixture(autouse=True)
def _broker(kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("PARLEY_KAFKA_TOPIC_PREFIX", topic_prefix)
    assert main(["topics", "apply"]) == 0


def test_topics_are_made_once_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A second `apply` has nothing to do; `list` shows that all exist."""
    capsys.readouterr()
    assert main(["topics", "apply"]) == 0
    assert capsys.readouterr().out == "all topics are as the table has them\n"
    assert main(["topics", "list"]) == 0
    assert "missing" not in capsys.readouterr().out


def test_topics_of_other_sizes_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that ask for other partitions than there are: status 1, one line for each topic, nothing changed."""
    monkeypatch.setenv("PARLEY_KAFKA_PARTITIONS", "3")
    capsys.readouterr()
    assert main(["topics", "apply"]) == 1
    assert "chat.requests: number of partitions is 4, should be 3" in capsys.readouterr().err


def test_only_other_partitions_keep_an_up_from_starting() -> None:
    """Another retention is told and lived with; other partitions would move every key."""
    refuse_other_partitions(Applied((), (Difference("chat.turns", "retention.ms", "1", "2"),)))
    with pytest.raises(SettingsError, match=r"chat\.turns: number of partitions is 3, should be 4: set"):
        refuse_other_partitions(Applied((), (Difference("chat.turns", "number of partitions", "4", "3"),)))
    assert {"inference.default", "inference.closing", "chat.requests"} <= {topic.name for topic in tables_topics()}
