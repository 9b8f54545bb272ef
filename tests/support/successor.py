"""A further process of a role beside those of `parley up`: whoever takes the work over while one of them is frozen."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import aiohttp

from tests.support.pipeline import Pipeline, free_ports
from tests.support.waiting import until

_START_S: Final = 60.0
_LEAVE_S: Final = 30.0


@asynccontextmanager
async def successor(pipeline: Pipeline, role: str, **environ: str) -> AsyncIterator[int]:
    """`parley run ROLE` within the block, ready; yields its pid. It leaves its group by SIGTERM behind the block."""
    [port] = free_ports(1)
    own = {
        "PARLEY_SERVICE_METRICS_PORT": str(port),
        "PARLEY_INTERNAL_TOKEN_FILE": str(pipeline.data / "internal-token"),
        "PARLEY_ENRICHMENT_DATA_DIR": str(pipeline.data / f"successor-{role}"),
    }
    with (pipeline.data / "log" / f"successor-{role}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "infra.cli.main", "run", role, "--data", str(pipeline.data),
            env={**os.environ, **pipeline.environ, **own, **environ}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        await until(lambda: _is_ready(port), limit_s=_START_S)
        yield process.pid
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), _LEAVE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """The processes stand still within the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _is_ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
