"""The page's client comes back when a close code asks it to, and stays away when it doesn't."""

import pytest
from playwright.async_api import Browser

from tests.support.browser import serve_page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("code", "reason", "attempt", "expected"),
    [
        (4000, "retry_ms=700", 0, {"reconnect": True, "delayMs": 700}),
        (4001, "", 0, {"reconnect": True, "delayMs": 250}),
        (1006, "", 3, {"reconnect": True, "delayMs": 2000}),
        (1006, "", 40, {"reconnect": True, "delayMs": 10000}),
        (4501, "", 0, {"reconnect": False}),
        (4999, "", 0, {"reconnect": False}),
    ],
)
async def test_what_a_close_code_asks(browser: Browser, code: int, reason: str, attempt: int, expected: object) -> None:
    """4000-4499 and any other code come back with growing jittered waits, 4500-4999 stay away."""
    page = await browser.new_page()
    await serve_page(page)
    script = "async (given) => (await import('/client.js')).afterClose(...given, () => 1)"
    assert await page.evaluate(script, [code, reason, attempt]) == expected
