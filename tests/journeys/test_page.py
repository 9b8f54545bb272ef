"""The chat page in a real browser, on the whole pipeline: what a person sees, also when things break."""

import os
import re
import signal

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support.contract import words
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PATIENCE_MS = 30_000
ANSWER = ".message.assistant p:not(.note)"


async def signed_in(context: BrowserContext, pipeline: Pipeline, user: str) -> Page:
    """The page, opened from the address that `parley up` prints."""
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(f"{pipeline.base_url}/#key={pipeline.key}&user={user}")
    await expect(page.locator("#model option")).not_to_have_count(0, timeout=PATIENCE_MS)
    return page


async def say(page: Page, text: str) -> None:
    """Type a message and send it with the keyboard."""
    await page.locator("#text").fill(text)
    await page.locator("#text").press("Enter")


async def answered(page: Page, text: str) -> None:
    """The newest answer has ended with exactly this text."""
    newest = page.locator(".message.assistant").last
    await expect(newest).to_have_attribute("data-state", "ended", timeout=60_000)
    await expect(newest.locator("p").first).to_have_text(text)


async def test_a_message_is_answered_and_listed(browser: Browser, pipeline: Pipeline) -> None:
    """A newcomer's first message streams its answer and the conversation is listed under its words."""
    page = await signed_in(await browser.new_context(), pipeline, "newcomer")
    assert "key=" not in page.url
    await say(page, "echo: Hello, Welt 🌍")
    await answered(page, "Hello, Welt 🌍")
    await expect(page.locator("#conversations .open")).to_have_text(["echo: Hello, Welt 🌍"], timeout=PATIENCE_MS)


async def test_two_tabs_and_a_reload_in_mid_answer(browser: Browser, pipeline: Pipeline) -> None:
    """A second tab and a reloaded one show the same whole answer, begun before they came."""
    context = await browser.new_context()
    first = await signed_in(context, pipeline, "two-tabs")
    await say(first, "tokens: 160")
    await expect(first.locator(ANSWER).last).to_contain_text("w5", timeout=PATIENCE_MS)
    second = await context.new_page()
    await second.goto(first.url)
    await expect(second.locator(ANSWER).last).to_contain_text("w5", timeout=PATIENCE_MS)
    await first.reload()
    for page in (first, second):
        await answered(page, words(160))


async def test_delivery_restarted_in_mid_answer(browser: Browser, pipeline: Pipeline) -> None:
    """When every delivery process is killed in mid-answer, the page comes back and the answer is whole."""
    page = await signed_in(await browser.new_context(), pipeline, "restarted")
    await say(page, "tokens: 240")
    await expect(page.locator(ANSWER).last).to_contain_text("w5", timeout=PATIENCE_MS)
    for process in pipeline.processes():
        if process["role"] == "delivery":
            os.kill(process["pid"], signal.SIGKILL)
    await expect(page.locator("#status")).to_have_text(re.compile("Coming back"), timeout=PATIENCE_MS)
    await answered(page, words(240))


async def test_stop_regenerate_reset_and_delete(browser: Browser, pipeline: Pipeline) -> None:
    """A person stops an answer by Escape, asks for another version, leafs back, resets, and deletes the thread."""
    page = await signed_in(await browser.new_context(), pipeline, "person")
    await say(page, "tokens: 2000")
    await expect(page.locator(ANSWER).last).to_contain_text("w5", timeout=PATIENCE_MS)
    await page.keyboard.press("Escape")
    newest = page.locator(".message.assistant").last
    await expect(newest).to_have_attribute("data-reason", "cancelled", timeout=PATIENCE_MS)
    await page.locator("#regenerate").click()
    await expect(page.locator(".foot span")).to_have_text("2/2", timeout=PATIENCE_MS)
    await page.get_by_label("Earlier version").click()
    await expect(newest).to_have_attribute("data-reason", "cancelled")
    await page.get_by_label("Later version").click()
    await expect(page.locator("#stop")).to_be_visible(timeout=PATIENCE_MS)
    await page.keyboard.press("Escape")
    await expect(newest).to_have_attribute("data-reason", "cancelled", timeout=PATIENCE_MS)
    await page.locator("#reset").click()
    await expect(page.locator("#thread hr")).to_have_count(1, timeout=PATIENCE_MS)
    await page.locator("#conversations .remove").first.click()
    await expect(page.locator("#conversations li")).to_have_count(0, timeout=PATIENCE_MS)
    await expect(page.locator(".message")).to_have_count(0)


async def test_a_wrong_key_is_told_in_words(browser: Browser, pipeline: Pipeline) -> None:
    """A key that nobody knows brings the sign-in back with the reason, not a blank page."""
    page = await browser.new_page()
    await page.goto(f"{pipeline.base_url}/#key=pk_nobody_0123456789abcdef0123456789")
    await expect(page.locator("#sign-in-fault")).not_to_be_empty(timeout=PATIENCE_MS)
    await expect(page.locator("#sign-in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_reads_well_on_a_phone(browser: Browser, pipeline: Pipeline, scheme: str) -> None:
    """On a phone's width nothing overflows, and the list opens and closes; in light and dark."""
    context = await browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = await signed_in(context, pipeline, f"phone-{scheme}")
    await say(page, "echo: " + "longword" * 40)
    await answered(page, "longword" * 40)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.locator("#menu").click()
    await expect(page.locator("#conversations")).to_be_visible()
