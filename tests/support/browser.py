"""A real headless Chromium for tests of the page: Debian's, or the one PARLEY_TEST_CHROMIUM names."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, Route, async_playwright

from producers.ingress.chat_page import ChatPage

PAGE = Path(__file__).parents[2] / "producers" / "page"
ORIGIN = "http://page.test"

# A browser that looks nothing up: tests have no network but loopback.
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """A browser that ends with the block."""
    program = os.environ.get("PARLEY_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, (
        "no chromium on this machine: install Debian's package `chromium`, or name one in PARLEY_TEST_CHROMIUM"
    )
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        yield running
        await running.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser that ends with the test."""
    async with launched() as running:
        yield running


async def serve_page(page: Page) -> None:
    """The page's own files under ORIGIN, and nothing else: for tests of its modules without a gateway."""

    async def answer(route: Route) -> None:
        path = PAGE / route.request.url.removeprefix(ORIGIN).lstrip("/").partition("?")[0]
        if path.is_file():
            await route.fulfill(body=path.read_text(), content_type=_TYPES[path.suffix])
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    await page.route(f"{ORIGIN}/**", answer)
    await page.goto(f"{ORIGIN}/blank")


@asynccontextmanager
async def page_on_loopback(page: Page, stream_url: str) -> AsyncIterator[None]:
    """The page as a gateway serves it, on this machine: browsers let no page from elsewhere speak to loopback."""
    app = web.Application()
    app.add_routes(ChatPage(lambda _: stream_url).routes)
    async with TestServer(app) as server:
        await page.goto(str(server.make_url("/icon.svg")))  # a page of that origin on which nothing runs
        yield
