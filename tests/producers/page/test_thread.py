"""The page's reader takes what every other reader takes: its rule is run in a real browser against ours."""

import json
import random

import pytest
from playwright.async_api import Browser

from schemas import codec
from schemas.fold import ConversationFold
from schemas.records import LogRecord, TurnAccepted, TurnDelta
from tests.support.browser import serve_page
from tests.support.logs import TURNS, accepted, delta, ended, queued, started

pytestmark = pytest.mark.browser

RUN = """async (logs) => {
  const { emptyThread, take, ordered } = await import("/thread.js");
  return logs.map((log) => {
    const thread = emptyThread();
    const taken = log.map((event) => take(thread, event));
    return { taken, turns: ordered(thread).map((turn) => [turn.id, turn.answer, turn.state === "ended"]) };
  });
}"""


def random_log(seed: int) -> list[LogRecord]:
    """Accepted turns, then claims, deltas and ends in any order, so that zombies and repeats abound."""
    chance = random.Random(seed)
    log: list[LogRecord] = [accepted(turn, order) for order, turn in enumerate(TURNS)]
    makers = (
        queued,
        lambda turn: started(turn, chance.randint(1, 3)),
        lambda turn: delta(turn, chance.randint(1, 2), chance.randint(0, 3)),
        lambda turn: delta(turn, chance.randint(1, 2), chance.randint(0, 3)),
        lambda turn: ended(turn, chance.randint(0, 2), chance.randint(0, 3)),
    )
    return log + [chance.choice(makers)(chance.choice(TURNS)) for _ in range(40)]


def folded(log: list[LogRecord]) -> tuple[list[bool], list[list[object]]]:
    """What our fold takes of a log, and each turn's text and end as a reader then shows them."""
    fold = ConversationFold()
    taken = [fold.take(record) for record in log]
    shown: dict[str, str] = {str(record.turn): "" for record in log if isinstance(record, TurnAccepted)}
    for record, is_taken in zip(log, taken, strict=True):
        if is_taken and isinstance(record, TurnDelta):
            shown[str(record.turn)] += record.text
    return taken, [[turn, text, turn not in fold.open_turns] for turn, text in shown.items()]


async def test_the_page_folds_as_we_do(browser: Browser) -> None:
    """Of 300 wild logs, the page's reader takes the same records and shows the same texts and ends."""
    page = await browser.new_page()
    await serve_page(page)
    logs = [random_log(seed) for seed in range(300)]
    numbered = [
        [{**json.loads(codec.encode(record)), "n": number} for number, record in enumerate(log)] for log in logs
    ]
    for log, result in zip(logs, await page.evaluate(RUN, numbered), strict=True):
        taken, turns = folded(log)
        assert [word == "taken" for word in result["taken"]] == taken
        assert sorted(result["turns"]) == sorted(turns)


async def test_merged_deltas_and_gaps(browser: Browser) -> None:
    """A merged delta counts up to its last seq, a repeat is dropped, and a missing piece is told as a gap."""
    page = await browser.new_page()
    await serve_page(page)
    turn = TURNS[0]
    log = [
        json.loads(codec.encode(record))
        for record in (accepted(turn, 0), started(turn, 1), delta(turn, 1, 0), delta(turn, 1, 1), delta(turn, 1, 4))
    ]
    merged = {**log[2], "last_seq": 2, "text": "abc"}
    [result] = await page.evaluate(RUN, [[log[0], log[1], merged, log[3], log[4]]])
    assert result["taken"] == ["taken", "taken", "taken", "dropped", "gap"]
    assert result["turns"] == [[turn, "abc", False]]
