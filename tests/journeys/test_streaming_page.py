"""The examples of docs/streaming.md, run as they stand there against the whole pipeline."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Route, expect

from schemas import asyncapi
from tests.support.contract import words
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
SAYING, KEEPING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[IN_A_BROWSER] = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
LIMIT_S = 60
# What the simulated engine answers is known beforehand.
ASKED, ANSWERED = "tokens: 60", words(60)


def here(text: str, pipeline: Pipeline) -> str:
    """An example with this pipeline's addresses in it, and a message whose answer is known."""
    changed = text.replace("ws://127.0.0.1:8081/v1/stream", pipeline.stream_url)
    changed = changed.replace("http://127.0.0.1:8080", pipeline.base_url).replace("Say hello in French.", ASKED)
    assert changed != text
    return changed


@asynccontextmanager
async def running(text: str, pipeline: Pipeline, folder: Path, **environ: str) -> AsyncIterator[Process]:
    """An example as a program of its own; it is gone behind the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", here(text, pipeline), cwd=folder, stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KEY": pipeline.key, **environ},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: Process) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), LIMIT_S)).decode().rstrip("\n")


async def post(pipeline: Pipeline, path: str, **body: str) -> str:
    """Ask the gateway over HTTP; the id in its answer."""
    headers = {"Authorization": f"Bearer {pipeline.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{pipeline.base_url}{path}", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


async def say(pipeline: Pipeline, conversation: str, text: str) -> str:
    """A whole turn; its id."""
    return await post(pipeline, "/v1/responses", model="simulated", input=text, conversation=conversation)


async def test_saying_and_showing(pipeline: Pipeline, tmp_path: Path) -> None:
    """The first example prints the whole answer, and why it ended."""
    async with running(SAYING, pipeline, tmp_path) as process:
        assert (await line(process), await line(process)) == (ANSWERED, "[stop]")
        assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0


async def test_keeping_a_position(pipeline: Pipeline, tmp_path: Path) -> None:
    """The second example, ended and begun again, tells of what happened meanwhile, once, and of nothing before."""
    conversation = await post(pipeline, "/v1/conversations")
    async with running(KEEPING, pipeline, tmp_path, CONVERSATION=conversation) as process:
        assert await line(process) == "so far: []"
        first = await say(pipeline, conversation, "echo: one")
        assert await line(process) == f"{first} ended: stop"
    second = await say(pipeline, conversation, "echo: two")
    async with running(KEEPING, pipeline, tmp_path, CONVERSATION=conversation) as process:
        # The end is printed before its position is kept: a program that dies between the two hears it again.
        told = [await line(process)]
        if told == [f"{first} ended: stop"]:
            told.append(await line(process))
        assert told[-1] == f"{second} ended: stop"


@pytest.mark.browser
async def test_in_a_browser(browser: Browser, pipeline: Pipeline) -> None:
    """The JavaScript example, beside the client as a gateway serves it, shows the whole answer and why it ended."""

    async def example(route: Route) -> None:
        await route.fulfill(body=here(IN_A_BROWSER, pipeline), content_type="text/javascript")

    page = await browser.new_page()
    await page.route("**/example.js", example)
    await page.goto(f"{pipeline.base_url}/thread.js")  # a document of that origin on which nothing runs
    await page.evaluate("(key) => localStorage.setItem('parley.key', key)", pipeline.key)
    await page.evaluate("import('/example.js')")
    await expect(page).to_have_title(f"{ANSWERED} [stop]", timeout=LIMIT_S * 1000)


async def test_the_document_that_the_page_names(pipeline: Pipeline) -> None:
    """A gateway serves the protocol's document without a key, with the address of this pipeline's delivery."""
    async with aiohttp.ClientSession() as http, http.get(f"{pipeline.base_url}/asyncapi.json") as answer:
        assert answer.status == 200
        told = await answer.json()
    assert told["asyncapi"] == asyncapi.VERSION
    assert told["servers"]["delivery"]["host"] == f"127.0.0.1:{pipeline.stream_port}"
