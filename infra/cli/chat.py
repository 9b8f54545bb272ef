"""`parley chat`: a conversation in this terminal, over the HTTP API like any other client. Ctrl-C stops an answer."""

import argparse
import http.client
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from infra.cli.arguments import add_data, running
from infra.cli.supervision.secret_file import read_secret
from schemas.errors import CallerError, DependencyError, SettingsError

PROMPT: Final = "> "
# Longer than the gateway's `: wait` lines are apart (15 s): a silent line is a dead one.
SILENCE_S: Final = 60.0
MULTIPLE_CHOICES: Final = 300
SERVER_ERROR: Final = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the API is, and which conversation goes on."""
    add_data(parser)
    parser.add_argument("--base-url", metavar="URL", help="of the API (default: the running `up`)")
    parser.add_argument("--key", help="API key (default: PARLEY_KEY, else the running `up`'s own)")
    parser.add_argument("--model", help="model to ask (default: the first that is served)")
    parser.add_argument("--conversation", metavar="ID", help="go on with this conversation")


def run(arguments: argparse.Namespace) -> int:
    """Read messages, one a line, until the input ends."""
    api = _api(arguments)
    model = arguments.model or api.first_model()
    conversation = arguments.conversation or api.call("POST", "/conversations", {})["id"]
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        print(f"{model}, {conversation}. Ctrl-C stops an answer, Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            text = input(PROMPT if is_terminal else "")
        except EOFError:
            return 0
        if text.strip():
            _answer(api, {"model": model, "conversation": conversation, "input": text, "stream": True})


@dataclass(frozen=True, slots=True)
class Api:
    """The HTTP API at a base URL.

    Args:
        base_url: up to and with `/v1`.
    """

    base_url: str
    key: str

    def first_model(self) -> str:
        """Return the id of the first model in the list."""
        listed = self.call("GET", "/models")["data"]
        if not listed:
            raise DependencyError("no model is served: see `parley ps`")
        return str(listed[0]["id"])

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer's JSON. Raises ParleyError with the server's own sentence."""
        with self._opened(method, path, body) as answer:
            return json.loads(answer.read())

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the events of a stream as they come."""
        with self._opened("POST", path, body) as answer:
            for raw in answer:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("data: ") and line != "data: [DONE]":
                    yield json.loads(line.removeprefix("data: "))

    def _opened(self, method: str, path: str, body: Mapping[str, Any] | None) -> http.client.HTTPResponse:
        place = urlsplit(self.base_url)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=SILENCE_S)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            connection.request(method, place.path + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
        except OSError as error:
            raise DependencyError(f"{self.base_url} doesn't answer ({error}): see `parley ps`") from error
        if answer.status >= MULTIPLE_CHOICES:
            raise _refusal(answer)
        return answer


def _refusal(answer: http.client.HTTPResponse) -> CallerError | DependencyError:
    raw = answer.read()
    try:
        told = str(json.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        told = f"HTTP {answer.status} {answer.reason}"
    return DependencyError(told) if answer.status >= SERVER_ERROR else CallerError(told)


def _api(arguments: argparse.Namespace) -> Api:
    key = arguments.key or os.environ.get("PARLEY_KEY")
    if arguments.base_url:
        if urlsplit(arguments.base_url).scheme not in {"http", "https"}:
            raise SettingsError(f"--base-url: {arguments.base_url} must begin with http:// or https://")
        if not key:
            raise SettingsError("--key: required with --base-url, there or as PARLEY_KEY")
        return Api(arguments.base_url.rstrip("/"), key)
    state = running(arguments)
    return Api(state.base_url, key or read_secret(Path(state.key_file)))


def _answer(api: Api, request: Mapping[str, Any]) -> None:
    """Print an answer as it comes; Ctrl-C stops the turn, and what was released of it stays."""
    turn: str | None = None
    try:
        for event in api.events("/responses", request):
            kind = event.get("type", "")
            if kind == "response.created":
                turn = event["response"]["id"]
            elif kind in {"response.output_text.delta", "response.refusal.delta"}:
                print(event["delta"], end="", flush=True)
            elif kind == "response.failed" or "error" in event:
                _tell_failure(event)
    except KeyboardInterrupt:
        if turn is None:
            raise
        api.call("POST", f"/responses/{turn}/cancel")
        print(" [stopped]", end="")
    print()


def _tell_failure(event: Mapping[str, Any]) -> None:
    error = event.get("error") or event.get("response", {}).get("error") or {}
    print(f"parley: {error.get('message', 'the turn has failed')}", file=sys.stderr)
