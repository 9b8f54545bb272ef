"""Policies from the command line: a broken one is refused, the last good one stays."""

from pathlib import Path

import pytest

from infra.cli.main import main

GOOD = """
sentence = "Not here."
[[rules]]
rule = "curse"
texts = ["darn"]
[[rules]]
rule = "number"
kind = "pattern"
action = "flag"
texts = ["[0-9]{16}"]
"""


@pytest.fixture
def _broker(kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("PARLEY_KAFKA_TOPIC_PREFIX", topic_prefix)
    assert main(["topics", "apply"]) == 0


@pytest.mark.usefixtures("_broker")
def test_a_push_raises_the_version_and_a_broken_one_leaves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pushes make version 2; a broken file is refused with the rule at fault, and version 2 stays in force."""
    file = tmp_path / "house.toml"
    file.write_text(GOOD)
    capsys.readouterr()
    assert main(["policy", "push", str(file)]) == 0
    assert main(["policy", "push", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "house version 2 is in force: 2 rules"
    file.write_text(GOOD.replace('"[0-9]{16}"', '"("'))
    assert main(["policy", "push", str(file)]) == 2
    assert "rule 'number'" in capsys.readouterr().err
    assert main(["policy", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [["house", "2", "curse"], ["house", "2", "number"]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules = 3", "rules: must be tables"),
        ("[[rules]]\nrule = 'a'\ntext = ['x']", "text: unknown; did you mean texts?"),
        ("colour = 1", "colour: unknown"),
        ("sentence = 1", "sentence: must be a text"),
        ("policy = 'No Name'", "is not a name"),
        ("[[rules", "is not TOML"),
        ("[[rules]]\nrule = 'a'\ntexts = []", "no texts"),
    ],
)
def test_a_broken_file_is_refused_without_a_broker(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fault is named in one line, status 2, before any broker is asked."""
    file = tmp_path / "p.toml"
    file.write_text(text)
    assert main(["policy", "push", str(file)]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
