"""The page about policies shows one that works."""

import re
import tomllib
from pathlib import Path

from stream_processors.moderation.policy import Rule
from stream_processors.moderation.publication import checked

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


def test_the_example_can_be_pushed() -> None:
    """The file that the page shows passes the check that a push makes."""
    [example] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert checked(tomllib.loads(example)) is not None


def test_every_key_of_a_rule_is_told() -> None:
    """A key that a rule may have stands in the page's table."""
    told = re.findall(r"^\| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    named = {name for cell in told for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(Rule.__dataclass_fields__)
