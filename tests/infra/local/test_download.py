"""Loading jars: parallel, checked, resumed; every failure one line that says what to do."""

import errno
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.local import download
from infra.local.download import load
from infra.local.errors import CorruptDownload, DiskFull, DownloadFailed
from infra.local.jars import Jar
from tests.infra.local.conftest import Repository


def jar_of(body: bytes, name: str = "a") -> Jar:
    return Jar(coordinate=f"org.x:{name}:1", sha256=hashlib.sha256(body).hexdigest(), size_bytes=len(body))


def read(folder: Path, jar: Jar) -> bytes:
    return (folder / jar.path).read_bytes()


def files(folder: Path) -> list[str]:
    return sorted(
        str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.name != ".loading"
    )


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_BACKOFF_S", 0.0)


async def test_what_is_missing_is_loaded_once(repository: Repository, tmp_path: Path) -> None:
    """Twenty jars arrive whole under their names; a second call asks for nothing."""
    bodies = {f"j{i}": bytes([i]) * (i * 1000 + 1) for i in range(20)}
    jars = [jar_of(body, name) for name, body in bodies.items()]
    repository.files = {jar.path: body for jar, body in zip(jars, bodies.values(), strict=True)}
    assert await load("X", jars, tmp_path, repository=repository.url) == sum(map(len, bodies.values()))
    assert all(read(tmp_path, jar) == repository.files[jar.path] for jar in jars)
    repository.asked.clear()
    assert await load("X", jars, tmp_path, repository=repository.url) == 0
    assert repository.asked == []
    assert files(tmp_path) == sorted(jar.path for jar in jars)


async def test_a_cut_load_goes_on_where_it_was(repository: Repository, tmp_path: Path) -> None:
    """A line cut in the middle costs only the rest: the next try asks for the range behind what has arrived."""
    body = bytes(range(256)) * 4096
    jar = jar_of(body)
    repository.files = {jar.path: body}
    repository.cut_after = {jar.path: 300_000}
    await load("X", [jar], tmp_path, repository=repository.url)
    assert read(tmp_path, jar) == body
    assert [asked[1] is None for asked in repository.asked] == [True, False]


async def test_a_left_over_part_that_does_not_fit_is_loaded_anew(repository: Repository, tmp_path: Path) -> None:
    """A part longer than the jar is thrown away, not trusted."""
    jar = jar_of(b"right")
    repository.files = {jar.path: b"right"}
    part = (tmp_path / jar.path).with_name("a-1.jar.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"wrong and longer")
    await load("X", [jar], tmp_path, repository=repository.url)
    assert read(tmp_path, jar) == b"right"


async def test_a_busy_repository_is_asked_again(repository: Repository, tmp_path: Path) -> None:
    """503 and 429 are tried again."""
    jar = jar_of(b"body")
    repository.files = {jar.path: b"body"}
    repository.status = {jar.path: [503, 429]}
    await load("X", [jar], tmp_path, repository=repository.url)
    assert read(tmp_path, jar) == b"body"


async def test_other_bytes_are_refused(repository: Repository, tmp_path: Path) -> None:
    """A jar that hashes to something else is an error, and nothing of it stays."""
    jar = jar_of(b"good")
    repository.files = {jar.path: b"evil"}
    with pytest.raises(CorruptDownload, match=r"org\.x:a:1 .*SHA-256.*maven_url"):
        await load("X", [jar], tmp_path, repository=repository.url)
    assert files(tmp_path) == []


async def test_a_wrong_repository_is_named(repository: Repository, tmp_path: Path) -> None:
    """404 says what was asked and which setting to check, at once."""
    with pytest.raises(DownloadFailed, match=r"HTTP 404.*maven_url"):
        await load("X", [jar_of(b"x")], tmp_path, repository=repository.url)
    assert len(repository.asked) == 1


async def test_no_network_is_said_in_one_line(tmp_path: Path) -> None:
    """With nothing at the other end the error names the network and the mirror setting."""
    with pytest.raises(DownloadFailed, match="check the network, or name a mirror") as caught:
        await load("X", [jar_of(b"x", n) for n in "abc"], tmp_path, repository="http://127.0.0.1:9/maven")
    assert "\n" not in str(caught.value)


async def test_a_disk_without_room_is_seen_before(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked for when the disk can't hold it."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(DiskFull, match="make room"):
        await load("X", [jar_of(b"x")], tmp_path, repository=repository.url)
    assert repository.asked == []


async def test_a_disk_that_fills_up_is_said(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC in the middle becomes the same one line."""
    jar = jar_of(b"body")
    repository.files = {jar.path: b"body"}

    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_fetch", full)
    with pytest.raises(DiskFull, match=r"make room there, or name another place by PARLEY_CACHE_DIR"):
        await load("X", [jar], tmp_path, repository=repository.url)
