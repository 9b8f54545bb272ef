"""Structured logs: one JSON object a line on standard error, with turn and trace; never a secret or a message's text.

Code logs with the standard library; what belongs to a turn is bound once with `bound()` and stands on each line inside.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, TextIO

from schemas import codec

_CONTEXT: Final[ContextVar[Mapping[str, str]]] = ContextVar("log_context", default={})  # noqa: B039 - never modified
_OWN: Final = ("turn", "conversation", "attempt", "trace_id", "span_id", "pool", "topic", "partition", "offset")
"""Fields that a call may give in `extra` and that are printed. Others are not: nobody prints a text by accident."""


_TRACE_PARTS: Final = 4
_MODE_PREFIX: Final = re.compile(r"^\[\^[^\]]*\]: ")


class Form(StrEnum):
    """How a line looks."""

    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The `[log]` section."""

    level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata={"doc": "the least important lines that are written; `debug` adds tracebacks"}
    )
    form: Form = field(default=Form.JSON, metadata={"doc": "`json`: one object a line; `text`: for a person's eyes"})


@dataclass(frozen=True, slots=True)
class Quieted:
    """A foreign line that says nothing to anybody.

    Args:
        logger: the logger's name, or the beginning of it.
        text: the message begins so; empty means every message below `level`.
        reason: why it is noise.
        about: stands somewhere in the message; others of that text pass.
        level: lines at this level or above pass all the same when `text` is empty.
    """

    logger: str
    text: str
    reason: str
    level: int = logging.CRITICAL
    about: str = ""


QUIETED: Final = (
    Quieted("aiokafka", "Topic %s not found in cluster metadata", "a deleted conversation's topic; the caller is told"),
    Quieted("aiokafka", "Topic %s is not available during auto-create", "a topic made a moment ago; retried"),
    Quieted("aiokafka.consumer", "Unable connect to node", "a broker is away: our own line says so, once"),
    Quieted("aiokafka", "Unable connect to", "a broker is away: our own line says so, once"),
    Quieted("aiokafka", "Unable to request metadata", "a broker is away: our own line says so, once"),
    Quieted("aiokafka", "Unable to update metadata", "a broker is away: our own line says so, once"),
    Quieted("aiokafka.producer.sender", "Got error produce response", "retried by the producer until it gives up"),
    Quieted("aiokafka.consumer.subscription_state", "assigned to multiple consumers", "a first join of sticky members"),
    Quieted("aiokafka.coordinator.assignors", "", "generation -1 at a first join: harmless", logging.ERROR),
    Quieted(
        "faust.transport.drivers.aiokafka",
        "Aiokafka has not sent fetch request",
        "nobody fetches the changelog of a table of our own once it is recovered; told of each, four times a second",
        about="-changelog'",
    ),
    Quieted(
        "faust.transport.drivers.aiokafka",
        "Aiokafka stopped fetching from",
        "the same for a changelog that recovery did fetch",
        about="-changelog'",
    ),
    Quieted(
        "mode.timers",
        "Timer %s is overlapping",
        "a commit took longer than its 0.1 s on a busy broker: the next comes later; parley_commit_age_seconds tells",
    ),
    Quieted("cassandra", "", "tracebacks of a node that is away: infra.runtime.cassandra says it in one line"),
    Quieted("aiohttp.access", "", "metrics and health are asked for every few seconds", logging.WARNING),
)


@contextmanager
def bound(**context: str | None) -> Iterator[None]:
    """Put these fields on every line that is logged inside, tasks begun there included. None leaves a field out."""
    given = {name: value for name, value in context.items() if value is not None}
    token = _CONTEXT.set({**_CONTEXT.get(), **given})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def trace_id(traceparent: str | None) -> str | None:
    """The trace's id, for `bound`. Source: W3C Trace Context, section 3.2.2: version, trace id, parent id, flags."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) >= _TRACE_PARTS else None


def configure(settings: LogSettings, role: str, stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (standard error) in our form. Idempotent."""
    handler = logging.StreamHandler(stream or sys.stderr)
    with_tracebacks = settings.level == "debug"
    handler.setFormatter(
        JsonLines(role, with_tracebacks=with_tracebacks)
        if settings.form is Form.JSON
        else TextLines(role, with_tracebacks=with_tracebacks)
    )
    handler.addFilter(is_worth_reading)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    # Foreign debug lines hold payloads: bytes of requests, prompts. Ours never do.
    for foreign in ("aiokafka", "cassandra", "aiohttp", "faust", "mode", "websockets", "asyncio", "urllib3", "httpx"):
        logging.getLogger(foreign).setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(capture=True)


def is_worth_reading(record: logging.LogRecord) -> bool:
    """False for a line of the table of quieted ones."""
    for each in QUIETED:
        if not record.name.startswith(each.logger):
            continue
        # Services of mode, faust's base, put their own name before: `[^--Consumer]: `.
        text = _MODE_PREFIX.sub("", str(record.msg))
        if each.text and text.startswith(each.text) and each.about in record.getMessage():
            return False
        if not each.text and record.levelno < each.level:
            return False
    return True


class JsonLines(logging.Formatter):
    """A line as a JSON object: `time`, `level`, `role`, `logger`, `message`, then turn, trace and place if known."""

    def __init__(self, role: str, *, with_tracebacks: bool) -> None:
        super().__init__()
        self._role = role
        self._with_tracebacks = with_tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": _instant(record.created),
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_CONTEXT.get())
        line.update({name: getattr(record, name) for name in _OWN if getattr(record, name, None) is not None})
        error = _error(record)
        if error is not None:
            line["error"] = error
            if self._with_tracebacks:
                line["traceback"] = _traceback(record)
        return codec.encode(line).decode()


class TextLines(JsonLines):
    """The same for a person: time, level, role, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = {**_CONTEXT.get(), **{name: getattr(record, name) for name in _OWN if getattr(record, name, None)}}
        error = _error(record)
        if error is not None:
            fields["error"] = error
        tail = "".join(f" {name}={value}" for name, value in fields.items())
        line = f"{_instant(record.created)} {record.levelname.lower():7} {self._role}: {record.getMessage()}{tail}"
        return f"{line}\n{_traceback(record)}" if error is not None and self._with_tracebacks else line


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(record: logging.LogRecord) -> str | None:
    if record.exc_info is None or record.exc_info[1] is None:
        return None
    error = record.exc_info[1]
    return f"{type(error).__name__}: {error}"


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info is None or record.exc_info[1] is None:
        return ""
    return "".join(traceback.format_exception(record.exc_info[1])).rstrip()
