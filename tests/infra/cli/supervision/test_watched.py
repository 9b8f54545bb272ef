"""A part under supervision."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from infra.cli.supervision import watched
from infra.cli.supervision.backoff import Backoff
from infra.cli.supervision.state import Phase
from infra.cli.supervision.watched import Watched
from infra.local.errors import StartFailed
from schemas.errors import ParleyError


class ToyPart:
    """A part that ends when it is told to, and fails to start as often as it is told to."""

    name = role = "toy"
    ports: Mapping[str, int] = {}

    def __init__(self) -> None:
        self.pid: int | None = None
        self.starts = 0
        self.failures = 0
        self.end = asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        if self.failures:
            self.failures -= 1
            raise StartFailed("toy fell")
        self.end = asyncio.Event()
        self.pid = self.starts

    async def ended(self) -> ParleyError:
        await self.end.wait()
        return StartFailed("toy ended")

    async def stop(self, limit_s: float) -> None:
        self.pid = None


async def until(holds: "asyncio.Event") -> None:
    async with asyncio.timeout(10):
        await holds.wait()


async def test_it_comes_back_however_often_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each end and each failed start is told, and the next start follows."""
    monkeypatch.setattr("infra.cli.supervision.backoff.FIRST_S", 0.0)
    part, said, is_back = ToyPart(), list[str](), asyncio.Event()

    def say(line: str) -> None:
        said.append(line)
        if "is back" in line:
            is_back.set()

    one = Watched(part, say, lambda: None)
    await one.start()
    assert one.row.state is Phase.READY
    part.failures = 2
    part.end.set()
    await until(is_back)
    assert part.starts == 4
    assert [line.split(";")[0] for line in said] == ["toy ended", "toy fell", "toy fell", "toy is back (pid 4)"]
    await one.stop(1)
    after = one.row
    assert (after.state, after.pid) == (Phase.ENDED, None)


async def test_a_long_start_is_no_good_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as having run is the time since it was ready: starts that fail late are failures all the same."""
    clock = iter(range(0, 10_000, 100))
    ran: list[float] = []

    def ended(backoff: Backoff, ran_s: float) -> tuple[Backoff, float]:
        ran.append(ran_s)
        return backoff, 0.0

    monkeypatch.setattr("infra.cli.supervision.watched.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(Backoff, "ended", ended)
    part, is_back = ToyPart(), asyncio.Event()
    one = Watched(part, lambda line: is_back.set() if "is back" in line else None, lambda: None)
    await one.start()
    part.failures = 2
    part.end.set()
    await until(is_back)
    await one.stop(1)
    assert ran == [100, 0, 0]


async def test_a_first_start_that_fails_is_the_callers() -> None:
    """Whether an `up` goes on without a part isn't the part's to decide."""
    part = ToyPart()
    part.failures = 1
    one = Watched(part, print, lambda: None)
    with pytest.raises(StartFailed):
        await one.start()
    await one.stop(1)
    assert part.starts == 1


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        ('x\n{"message":"gateway has failed","error":"KeyError: 1"}', "gateway has failed: KeyError: 1"),
        ("Traceback\nValueError: no", "ValueError: no"),
        ('{"other":1}', '{"other":1}'),
    ],
)
def test_last_words_are_read_from_json_and_text(tail: str, told: str) -> None:
    """Our own lines give message and error, foreign ones themselves."""
    assert watched._last_words(tail) == told
