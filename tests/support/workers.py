"""Which worker of a running pipeline answers: asked of the workers' own metrics."""

import asyncio
import re
from typing import Final

import aiohttp

from tests.support.pipeline import Pipeline
from tests.support.waiting import until

_RUNNING: Final = re.compile(rb'^parley_engine_slots\{pool="default",state="running"\} (\S+)$', re.MULTILINE)


async def workers(pipeline: Pipeline) -> dict[int, int]:
    """The metrics' port of each worker that answers, by its pid."""
    listed = await asyncio.to_thread(pipeline.processes)
    return {
        each["pid"]: each["ports"]["metrics"]
        for each in listed
        if each["role"] == "inference" and each["name"] != "closing"
    }


async def busiest(pipeline: Pipeline, running: int) -> int:
    """The pid of the worker that answers the most turns; waits until all of them together answer so many."""
    known = await workers(pipeline)

    async def ask() -> int:
        loads = {pid: await _running(port) for pid, port in known.items()}
        # They tell once a second: until the sum is right, the figures are of before.
        return max(loads, key=loads.__getitem__) if sum(loads.values()) == running else 0

    return await until(ask, limit_s=20)


async def _running(port: int) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        found = _RUNNING.search(await answer.read())
    return float(found[1]) if found is not None else 0.0
