"""The page about streaming tells of every close code what the code tells, and its examples are complete programs.

That the examples run is in tests/journeys/test_streaming_page.py.
"""

import ast
import re
from pathlib import Path

from delivery.client import parley_client, reading, returning
from schemas.asyncapi import document
from schemas.frames import CLOSE_MEANINGS, CloseCode

PAGE = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text(encoding="utf-8")


def test_close_codes_are_told_as_the_code_tells_them() -> None:
    """Each close code has its row, in the words of the protocol's document."""
    rows = re.findall(r"^\| (\d{4}) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert {int(code): meaning for code, _, meaning in rows} == {int(code): CLOSE_MEANINGS[code] for code in CloseCode}
    told = document()["channels"]["stream"]["description"]
    assert all(f"| {code} | {duty} | {meaning} |" in told for code, duty, meaning in rows)


def test_numbers_are_those_of_the_code() -> None:
    """What the page says of waits and bounds is what the client does."""
    assert f"doubles from {returning.FIRST_PAUSE_S} s to {returning.LONGEST_PAUSE_S:g} s" in PAGE
    assert f"After {parley_client.SILENCE_S:g} s without a word" in PAGE
    assert "up to ten thousand" in PAGE
    assert reading.MOST_WAITING == 10_000


def test_examples_import_what_outsiders_may() -> None:
    """Python on the page needs the client, the frames and the standard library, nothing else."""
    for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        met = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
        assert met <= {"delivery.client", "schemas.frames", "pathlib"}
