"""The page's reader takes what every other reader takes: its rule is run in a real browser against ours."""

import random
from dataclasses import asdict
from typing import Any

import pytest
from playwright.async_api import Browser

from delivery.client.thread import Thread, from_history
from schemas import codec
from schemas.frames import History
from schemas.records import LogRecord
from tests.delivery.client.streams import Events, history, merged, once_accepted, plain, taken
from tests.support.browser import serve_page
from tests.support.logs import TURNS, accepted, delta, ended, queued, reset, started

pytestmark = pytest.mark.browser

SHOWN = ("id", "n", "parent", "text", "answer", "attempt", "seq", "reason", "refusal", "ahead")
RUN = """async ([runs, names]) => {
  const { emptyThread, fromHistory, take } = await import("/thread.js");
  return runs.map(({ isWhole, history, events }) => {
    const thread = history ? fromHistory(history, "older") : emptyThread({ isWhole });
    const fates = events.map((event) => take(thread, event));
    const shown = (turn) => Object.fromEntries(names.map((name) => [name, turn[name]]));
    const turns = [...thread.turns.values()].map(shown);
    return { fates, turns, order: thread.order, before: thread.before };
  });
}"""


def random_log(chance: random.Random) -> list[LogRecord]:
    """Accepted turns, then claims, deltas and ends in any order, so that zombies and repeats abound."""
    log: list[LogRecord] = [accepted(turn, order) for order, turn in enumerate(TURNS)]
    makers = (
        queued,
        lambda turn: started(turn, chance.randint(1, 3)),
        lambda turn: delta(turn, chance.randint(1, 2), chance.randint(0, 3)),
        lambda turn: delta(turn, chance.randint(1, 2), chance.randint(0, 3)),
        lambda turn: ended(turn, chance.randint(0, 2), chance.randint(0, 3)),
        lambda _: reset(chance.randint(0, 9)),
    )
    return log + [chance.choice(makers)(chance.choice(TURNS)) for _ in range(40)]


def random_run(seed: int) -> dict[str, Any]:
    """How a thread begins and what it then meets: raw, or as delivered, merged, repeated and with a piece missing."""
    chance = random.Random(seed)
    log = random_log(chance)
    if seed % 3 == 0:
        return {"isWhole": True, "history": None, "events": plain(log)}
    kept = taken(once_accepted(log))
    cut = chance.randint(0, len(kept))
    events = merged(plain(kept[max(0, cut - chance.randint(0, 3)) :]), [chance.random() < 0.5 for _ in range(7)])
    if events and chance.random() < 0.3:
        del events[chance.randrange(len(events))]
    past = asdict(history(kept[:cut])) if seed % 3 == 1 else None
    return {"isWhole": seed % 2 == 0, "history": past, "events": events}


def ours(run: dict[str, Any]) -> dict[str, Any]:
    """What our reader makes of it."""
    thread = Thread(is_whole=run["isWhole"])
    if run["history"] is not None:
        thread = from_history(codec.convert(run["history"], History), "older")
    events: Events = run["events"]
    fates = [thread.take(event) for event in events]
    turns = [{name: getattr(turn, name) for name in SHOWN} for turn in thread.turns.values()]
    return {"fates": fates, "turns": turns, "order": thread.order, "before": thread.before}


async def test_the_page_reads_as_we_do(browser: Browser) -> None:
    """Of 600 random runs, raw and delivered, whole and begun midway, the page takes and shows what ours does."""
    page = await browser.new_page()
    await serve_page(page)
    runs = [random_run(seed) for seed in range(600)]
    results = await page.evaluate(RUN, [runs, SHOWN])
    met = set()
    for run, result in zip(runs, results, strict=True):
        assert result == ours(run)
        met.update(result["fates"])
    assert met == {"taken", "dropped", "gap"}
