"""Chat in a terminal, against a server that speaks the API."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.cli.main import main

EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "resp_1"}},
    {"type": "response.output_text.delta", "delta": "Hel"},
    {"type": "response.output_text.delta", "delta": "lo"},
    {"type": "response.completed", "response": {"id": "resp_1"}},
]


class Server(ThreadingHTTPServer):
    """What it was asked, and what it streams."""

    asked: list[tuple[str, Any]]
    events: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    """Models, conversations and streamed responses."""

    server: Server

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")
        self.server.asked.append((self.path, body))
        if self.headers["Authorization"] != "Bearer pk_good":
            self.reply({"error": {"message": "This key is unknown."}}, 401)
        elif self.path == "/v1/responses":
            self.send_response(200)
            self.end_headers()
            for event in self.server.events:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        else:
            self.reply({"id": "conv_1"})

    def reply(self, body: object, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """The server on loopback."""
    served = Server(("127.0.0.1", 0), Handler)
    served.asked, served.events = [], EVENTS
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def chat(server: Server, text: str, monkeypatch: pytest.MonkeyPatch, key: str = "pk_good") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["chat", "--base-url", f"http://127.0.0.1:{server.server_port}/v1", "--key", key])


def test_each_line_is_a_message_of_one_conversation(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers are printed as they stream; blank lines ask nothing; the end of the input ends it."""
    assert chat(server, "Hi\n\nAgain\n", monkeypatch) == 0
    assert capsys.readouterr().out == "Hello\nHello\n"
    sent = [body for path, body in server.asked if path == "/v1/responses"]
    assert [body["input"] for body in sent] == ["Hi", "Again"]
    assert {body["conversation"] for body in sent} == {"conv_1"}
    assert {body["model"] for body in sent} == {"tiny"}


def test_a_failed_turn_is_told_and_the_chat_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server's sentence goes to the errors."""
    server.events = [{"type": "response.failed", "response": {"error": {"message": "The engine is gone."}}}]
    assert chat(server, "Hi\nHi\n", monkeypatch) == 0
    assert capsys.readouterr().err.count("parley: The engine is gone.") == 2


def test_a_refused_key_is_the_servers_own_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, for the caller has to change something."""
    assert chat(server, "Hi\n", monkeypatch, key="pk_bad") == 2
    assert capsys.readouterr().err == "parley: This key is unknown.\n"


def test_nobody_there_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1: the same command may work later."""
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    assert main(["chat", "--base-url", "http://127.0.0.1:9/v1", "--key", "k"]) == 1
    assert "doesn't answer" in capsys.readouterr().err
