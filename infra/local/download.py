"""Load the locked jars into the user's cache: in parallel, checked, resumed where a load was broken off.

A jar appears under its name only when it is whole and hashes to the lock's value (written beside it, then renamed).
One process loads at a time (a lock on the folder); a second one waits and then finds everything there.
"""

import asyncio
import errno
import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp

from infra.local.errors import CorruptDownload, DiskFull, DownloadFailed, JavaMissing
from infra.local.jars import Jar, missing
from infra.local.progress import Progress
from infra.local.resources import require_disk

CONNECTIONS: Final = 8
TRIES: Final = 4
FIRST_BACKOFF_S: Final = 0.5
SPARE_MB: Final = 64  # on top of what is loaded: no disk is filled to its last byte by us
CHUNK_BYTES: Final = 1 << 18
# No limit on the whole, since a slow line may take minutes; 30 s without a byte is a dead one.
TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=30)
OK: Final = 200
PARTIAL: Final = 206
NOT_SATISFIABLE: Final = 416
RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})


class _TryAgain(Exception):
    """This try failed in a way that the next one may not."""


def default_repository() -> str:
    """Return the repository that the resolver uses by itself.

    Raises:
        JavaMissing: the `local` extra is not installed.
    """
    try:
        import jgo  # noqa: PLC0415  # an extra; and only asked for when a jar is missing
    except ImportError as error:
        raise JavaMissing(
            "the resolver jgo is missing: install Parley with its extra, pip install 'parley[local]'"
        ) from error
    return str(jgo.MAVEN_CENTRAL_URL)


async def load(what: str, jars: Sequence[Jar], folder: Path, *, repository: str = "") -> int:
    """Make `folder` hold all the jars; what is there already is left alone.

    Args:
        what: the name shown beside the progress.
        repository: root address of a Maven repository; empty = the resolver's own.

    Returns:
        The bytes that the missing jars have in all: 0 if nothing was missing.

    Raises:
        DownloadFailed: no network, or the repository refused; what has arrived is kept for the next try.
        CorruptDownload: the repository holds other bytes than the lock says.
        DiskFull: no room.
        JavaMissing: the `local` extra is not installed.
    """
    if not missing(jars, folder):
        return 0
    root = (repository or default_repository()).rstrip("/")
    with _no_space(folder):
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        with (folder / ".loading").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            wanted = missing(jars, folder)
            if wanted:
                await _load_all(what, wanted, folder, root)
    return sum(jar.size_bytes for jar in wanted)


async def _load_all(what: str, wanted: Sequence[Jar], folder: Path, root: str) -> None:
    total = sum(jar.size_bytes for jar in wanted)
    require_disk(folder, (total >> 20) + SPARE_MB, what)
    progress = Progress(what, total)
    turn = asyncio.Semaphore(CONNECTIONS)
    try:
        async with (
            # trust_env: the proxy that the user's other tools use.
            aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True, auto_decompress=False) as session,
            asyncio.TaskGroup() as group,
        ):
            # The largest first: it would otherwise run alone at the end.
            for jar in sorted(wanted, key=lambda jar: -jar.size_bytes):
                group.create_task(_load_one(session, jar, folder, root, progress, turn))
    except* (DownloadFailed, DiskFull, OSError) as failed:
        raise _first(failed) from None
    finally:
        progress.finish()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Eight connections fail alike when the network is away: one of them is enough to say so."""
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf


async def _load_one(
    session: aiohttp.ClientSession, jar: Jar, folder: Path, root: str, progress: Progress, turn: asyncio.Semaphore
) -> None:
    file = folder / jar.path
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    async with turn:
        for attempt in range(TRIES):
            try:
                await _fetch(session, f"{root}/{jar.path}", part, jar, progress)
                break
            except (_TryAgain, aiohttp.ClientError, TimeoutError) as error:
                if attempt == TRIES - 1:
                    raise DownloadFailed(
                        f"{jar.coordinate} could not be loaded from {root} ({_short(error)}): check the network, "
                        "or name a mirror by [local] maven_url; what has arrived is kept"
                    ) from error
                await asyncio.sleep(FIRST_BACKOFF_S * 2**attempt)
    await asyncio.to_thread(part.replace, file)


async def _fetch(session: aiohttp.ClientSession, url: str, part: Path, jar: Jar, progress: Progress) -> None:
    """Load one jar to `part`, behind what an earlier try left there, and check it."""
    digest = hashlib.sha256()
    have = _hash_present(part, digest)
    progress.add(have)
    counted = have
    try:
        async with session.get(url, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
            if have and answer.status in {OK, NOT_SATISFIABLE}:
                # No ranges here, or too much is there: from the beginning, now or at the next try.
                await asyncio.to_thread(part.unlink)
                if answer.status == NOT_SATISFIABLE:
                    raise _TryAgain("the part of an earlier try didn't fit")
                digest = hashlib.sha256()
                progress.add(-have)
                counted = 0
            elif answer.status in RETRIED:
                raise _TryAgain(f"HTTP {answer.status}")
            elif answer.status not in {OK, PARTIAL}:
                raise DownloadFailed(
                    f"{jar.coordinate} is not at {url} (HTTP {answer.status}): "
                    "check [local] maven_url, it must be the root of a Maven repository"
                )
            with part.open("ab") as file:
                async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    progress.add(len(chunk))
                    counted += len(chunk)
    except BaseException:
        progress.add(-counted)  # the next try counts what is there again
        raise
    if digest.hexdigest() != jar.sha256:
        await asyncio.to_thread(part.unlink)
        raise CorruptDownload(
            f"{jar.coordinate} from {url} is not the file of the lock (SHA-256 {digest.hexdigest()[:12]}…, "
            f"not {jar.sha256[:12]}…): try again, and if it stays, name another repository by [local] maven_url"
        )


def _hash_present(part: Path, digest: "hashlib._Hash") -> int:
    try:
        data = part.read_bytes()
    except FileNotFoundError:
        return 0
    digest.update(data)
    return len(data)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def _no_space(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise DiskFull(
            f"the disk of {folder} is full: make room there, or name another place by PARLEY_CACHE_DIR"
        ) from error
