from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from infra.runtime.clock import SYSTEM
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness
from producers.ingress.application import application
from producers.ingress.chat_page import FOLDER, ChatPage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    (page / "parts").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>", encoding="utf-8")
    (page / "app.js").write_text("export {}", encoding="utf-8")
    (page / "parts" / "style.css").write_text("body {}", encoding="utf-8")
    (page / "notes.txt").write_text("not served", encoding="utf-8")
    (tmp_path / "secret.js").write_text("not ours", encoding="utf-8")
    return page


def _client(folder: Path) -> TestClient[web.Request, web.Application]:
    page = ChatPage(lambda _: "ws://127.0.0.1:8081/v1/stream", folder)
    app = application(page.routes, lambda: Readiness(ok=True), SYSTEM, Metrics("gateway"))
    return TestClient(TestServer(app))


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/app.js", "text/javascript"), ("/parts/style.css", "text/css")]
)
async def test_files_have_their_types(folder: Path, path: str, kind: str) -> None:
    """Each file is served as what it is, and may speak to its own origin and to delivery alone."""
    async with _client(folder) as client:
        answer = await client.get(path)
        assert (answer.status, answer.content_type) == (200, kind)
        policy = answer.headers["Content-Security-Policy"]
        assert "connect-src 'self' ws://127.0.0.1:8081;" in policy
        assert "unsafe" not in policy
        again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize("path", ["/notes.txt", "/secret.js", "/..%2fsecret.js", "/parts/../../secret.js", "/no.js"])
async def test_nothing_else_is_served(folder: Path, path: str) -> None:
    """Only files of the page's folder are served, whatever the path says."""
    async with _client(folder) as client:
        answer = await client.get(path)
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "unknown_url"


def test_the_page_is_there() -> None:
    """The page that is shipped has its index where it is looked for."""
    assert (FOLDER / "index.html").is_file()


@pytest.mark.parametrize("name", ["client.js", "client.d.ts", "thread.js", "thread.d.ts"])
async def test_the_client_can_be_taken_from_a_gateway(name: str) -> None:
    """The JavaScript client and its types are served as they lie in the tree."""
    async with _client(FOLDER) as client:
        answer = await client.get(f"/{name}")
        assert (answer.status, await answer.text()) == (200, (FOLDER / name).read_text(encoding="utf-8"))
