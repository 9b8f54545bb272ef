"""The page's client: what a close code asks of it, and that its types tell what it has.

How it comes through cuts is in tests/delivery/client/test_cuts.py, with the Python one.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.browser import PAGE, serve_page


@pytest.mark.browser
@pytest.mark.parametrize(
    ("code", "reason", "attempt", "expected"),
    [
        (4000, "retry_ms=700", 0, {"reconnect": True, "delayMs": 700}),
        (4001, "", 0, {"reconnect": True, "delayMs": 125}),
        (1006, "", 3, {"reconnect": True, "delayMs": 1000}),
        (1006, "", 40, {"reconnect": True, "delayMs": 5000}),
        (4501, "", 0, {"reconnect": False}),
        (4999, "", 0, {"reconnect": False}),
    ],
)
async def test_what_a_close_code_asks(browser: Browser, code: int, reason: str, attempt: int, expected: object) -> None:
    """4000-4499 and any other code come back, anywhere within a growing pause; 4500-4999 stay away."""
    page = await browser.new_page()
    await serve_page(page)
    script = "async (given) => (await import('/client.js')).afterClose(...given, () => 0.5)"
    assert await page.evaluate(script, [code, reason, attempt]) == expected


@pytest.mark.browser
async def test_a_page_on_plain_http_can_send(browser: Browser) -> None:
    """Outside of a secure context, where a browser has no `crypto.randomUUID`, each message has a key of its own."""
    page = await browser.new_page()
    await serve_page(page)
    script = """async () => {
      const { ParleyClient } = await import("/client.js");
      const client = new ParleyClient({ ticket: () => new Promise(() => {}) });
      const message = { text: "a" };
      const sent = [message, message, { ...message, idempotency_key: "mine" }].map((each) => client.send(each));
      const keys = [...client.calls.values()].map(({ frame }) => frame.idempotency_key);
      client.close();
      const ends = await Promise.allSettled(sent);
      return { isSecureContext, keys, codes: ends.map(({ reason }) => reason.code) };
    }"""
    told = await page.evaluate(script)
    first, second, mine = told["keys"]
    assert not told["isSecureContext"]
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second
    assert mine == "mine"
    assert told["codes"] == ["unavailable"] * 3


def exported(text: str) -> set[str]:
    """The names that a module or its types export as values."""
    return set(re.findall(r"^export (?:declare )?(?:async )?(?:class|function|const) (\w+)", text, re.MULTILINE))


def methods(text: str, name: str) -> set[str]:
    """The methods that stand in a class, up to the line that divides its inside from its face."""
    body = re.search(rf"class {name}\b.*?\n}}", text, re.DOTALL)
    assert body is not None
    face = body[0].partition("// --- inside")[0]
    return set(re.findall(r"^  (?:async )?(\w+)\(", face, re.MULTILINE))


@pytest.mark.parametrize("name", ["client", "thread"])
def test_types_stand_beside_the_module(name: str) -> None:
    """Every exported name, and every method for callers, stands in the types, and nothing else does."""
    source, types = ((PAGE / f"{name}.{kind}").read_text() for kind in ("js", "d.ts"))
    assert exported(source) == exported(types) != set()
    for each in re.findall(r"^export class (\w+)", source, re.MULTILINE):
        assert methods(source, each) == methods(types, each)


USE = """
import { ParleyClient, ParleyError, afterClose } from "%(page)s/client.js";
import { emptyThread, take } from "%(page)s/thread.js";
const client = new ParleyClient({ gateway: "http://x", key: "pk", user: "me", onState: ({ state }) => state });
client.subscribe("conv", {
  after: null,
  onSnapshot: (thread, position) => [thread.turns.size, position.length],
  onEvent: (event, thread) => take(thread, event) === "gap",
  onError: (error: ParleyError) => error.retriable,
});
const { turn } = await client.send({ text: "Hello" });
await client.stop({ turn });
const asked = afterClose(1006, "", 0);
if (asked.reconnect) asked.delayMs.toFixed();
emptyThread().before?.length;
// @ts-expect-error neither a ticket nor a key
new ParleyClient({});
// @ts-expect-error a message has text
await client.send({});
"""


@pytest.mark.skipif(
    shutil.which("tsc") is None, reason="no TypeScript compiler on this machine; none is installed for it"
)
def test_types_serve_a_typescript_program(tmp_path: Path) -> None:
    """A strict program that uses the client compiles, and one that misuses it doesn't."""
    program = tmp_path / "use.mts"
    program.write_text(USE % {"page": PAGE})
    options = ("--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    done = subprocess.run(["tsc", *options, str(program)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
