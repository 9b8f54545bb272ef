"""The WebSocket protocol as an AsyncAPI 3.0 document, made from the frames themselves so that the two can't differ.

The gateway serves it at `/asyncapi.json`; `docs/asyncapi.json` is the same for this machine's defaults.
Source: AsyncAPI Specification 3.0.0; WebSockets binding 0.1.0.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from schemas import codec
from schemas.frames import (
    CLIENT_FRAMES,
    CLOSE_MEANINGS,
    SERVER_FRAMES,
    SUBPROTOCOL,
    Accepted,
    Alive,
    Authenticate,
    ErrorFrame,
    Event,
    Ping,
    Pong,
    Send,
    Stop,
    Stopping,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from schemas.records import MovedLogged, ResetLogged, TurnAccepted, TurnDelta, TurnEnded, TurnQueued, TurnStarted

VERSION: Final = "3.0.0"
STREAM_URL: Final = "ws://127.0.0.1:8081/v1/stream"

# What answers a frame; any of them may be answered by `error` in its place.
ANSWERS: Final[Mapping[type, type | None]] = {
    Authenticate: None,
    Subscribe: Subscribed,
    Unsubscribe: Unsubscribed,
    Send: Accepted,
    Stop: Stopping,
    Ping: Pong,
}
# What the server says by itself. An `error` with the `ref` of a subscribe ends that subscription, whenever it comes.
UNASKED: Final = (Event, Alive, ErrorFrame)

_LOGGED: Final = (TurnAccepted, TurnQueued, TurnStarted, TurnDelta, TurnEnded, ResetLogged, MovedLogged)
_STAY_AWAY: Final = 4500
_ABOUT: Final = f"""\
Reads conversations and speaks in them over one WebSocket. The subprotocol is `{SUBPROTOCOL}`; none offered is served
alike.

A reader keeps the `position` of the last event that it has taken and gives it back as `after`. Then every event behind
it comes once, in order (`recovered: true`), or the conversation so far replaces what was shown (`recovered: false`). A
disconnect never stops a turn. Readers ignore fields and types that they don't know. After 20 s of silence the server
says `alive`: twice as long without a word, and the connection is dead.
"""


def document(stream_url: str = STREAM_URL) -> dict[str, Any]:
    """The document, as plain values.

    Args:
        stream_url: where delivery is found, `ws://` or `wss://`.
    """
    place = urlsplit(stream_url)
    return {
        "asyncapi": VERSION,
        "info": {"title": "Parley", "version": "1.0.0", "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "delivery": {
                "host": place.netloc,
                "protocol": place.scheme,
                "description": "Any delivery node serves any conversation.",
                "security": [_ref("securitySchemes", "key"), _ref("securitySchemes", "ticket")],
            }
        },
        "channels": {"stream": _channel(place.path)},
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas(), "securitySchemes": _SECURITY},
    }


_SECURITY: Final = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key in the `Authorization` header."},
    "ticket": {
        "type": "httpApiKey",
        "name": "ticket",
        "in": "query",
        "description": "From `POST /v1/tickets`: good for one connection within a minute.",
    },
}


def _channel(address: str) -> dict[str, Any]:
    codes = "\n".join(f"| {code.value} | {_duty(code)} | {meaning} |" for code, meaning in CLOSE_MEANINGS.items())
    return {
        "address": address,
        "description": (
            "Every message is one JSON object with a `type`. Refusals come after the upgrade, as close codes; but a "
            "foreign Origin is answered by HTTP 403. A close reason `retry_ms=N` says when to come back.\n\n"
            f"| close code | the client | meaning |\n|---|---|---|\n{codes}\n"
            "| 4000-4499 | comes back with its position | others of this kind, later |\n"
            "| 4500-4999 | stays away | others of this kind, later |\n"
            "| any other | comes back, after a wait with jitter | |\n"
        ),
        "servers": [{"$ref": "#/servers/delivery"}],
        "messages": {name: _ref("messages", name) for name in (*CLIENT_FRAMES, *SERVER_FRAMES)},
        "bindings": {
            "ws": {
                "bindingVersion": "0.1.0",
                "method": "GET",
                "query": {"type": "object", "properties": {"ticket": {"type": "string"}}},
                "headers": {
                    "type": "object",
                    "properties": {
                        "Authorization": {"type": "string"},
                        "Sec-WebSocket-Protocol": {"type": "string", "enum": [SUBPROTOCOL]},
                    },
                },
            }
        },
        "x-close-codes": {
            str(code.value): {"meaning": meaning, "comeBack": code < _STAY_AWAY}
            for code, meaning in CLOSE_MEANINGS.items()
        },
    }


def _duty(code: int) -> str:
    return "comes back with its position" if code < _STAY_AWAY else "stays away"


def _operations() -> dict[str, Any]:
    """As delivery sees them: it receives what clients send."""
    channel = {"$ref": "#/channels/stream"}
    found: dict[str, Any] = {}
    for kind, answer in ANSWERS.items():
        answers = [_in_channel(each) for each in (answer, ErrorFrame) if each is not None]
        found[_name(kind)] = {
            "action": "receive",
            "channel": channel,
            "summary": _summary(kind),
            "messages": [_in_channel(kind)],
            "reply": {"channel": channel, "messages": answers},
        }
    for kind in UNASKED:
        found[_name(kind)] = {
            "action": "send",
            "channel": channel,
            "summary": _summary(kind),
            "messages": [_in_channel(kind)],
        }
    return found


def _messages() -> dict[str, Any]:
    return {
        name: {"name": name, "summary": _summary(kind), "payload": _ref("schemas", kind.__name__)}
        for name, kind in (*CLIENT_FRAMES.items(), *SERVER_FRAMES.items())
    }


def _schemas() -> dict[str, Any]:
    kinds = (*CLIENT_FRAMES.values(), *SERVER_FRAMES.values(), *_LOGGED)
    schemas = codec.json_schemas(kinds, "#/components/schemas/{name}")
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    for kind in kinds:
        # Its default serves programs of ours; on the wire it tells what the object is.
        schemas[kind.__name__]["required"] = ["type", *schemas[kind.__name__].get("required", ())]
    schemas[TurnDelta.__name__]["description"] = "A piece of released answer text; `tokens` counts its tokens."
    delta = schemas[TurnDelta.__name__]["properties"]
    del delta["token_ids"]  # delivery takes them out
    delta["last_seq"] = {"type": "integer", "description": "Of merged deltas: `seq` of the last; `seq` is the first's."}
    schemas[Event.__name__]["properties"]["event"] = {"oneOf": [_ref("schemas", kind.__name__) for kind in _LOGGED]}
    return dict(sorted(schemas.items()))


def _name(kind: type) -> str:
    return str(kind.__dataclass_fields__["type"].default)  # type: ignore[attr-defined]


def _summary(kind: type) -> str:
    return inspect.getdoc(kind).partition("\n")[0]  # type: ignore[union-attr]


def _ref(section: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{section}/{name}"}


def _in_channel(kind: type) -> dict[str, str]:
    return {"$ref": f"#/channels/stream/messages/{_name(kind)}"}
