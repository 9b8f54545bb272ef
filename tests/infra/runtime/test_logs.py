"""Log lines: one JSON object each, with turn and trace, without payloads, tracebacks only when asked for."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from faust.types import TP

from infra.runtime.logs import QUIETED, Form, LogSettings, bound, configure, trace_id

log = logging.getLogger("test.logs")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where logging goes; the process's own logging is put back behind the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    foreign = {name: logging.getLogger(name).level for name in ("aiokafka", "cassandra", "aiohttp", "faust", "mode")}
    yield io.StringIO()
    root.handlers, root.level = handlers, level
    for name, before in foreign.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object(stream: io.StringIO) -> None:
    """Time, level, role and message stand on every line; a place only where it was given."""
    configure(LogSettings(), "gateway", stream)
    log.info("sent %d", 5, extra={"turn": "resp_1", "text": "hello"})
    [line] = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "role": "gateway", "logger": "test.logs", "message": "sent 5", "turn": "resp_1"}


def test_texts_don_t_slip_in(stream: io.StringIO) -> None:
    """A field that isn't in the table is not printed, whatever a caller puts there."""
    configure(LogSettings(), "gateway", stream)
    log.info("x", extra={"text": "what the user said", "prompt": "p"})
    assert "what the user said" not in stream.getvalue()


async def test_what_is_bound_stands_inside(stream: io.StringIO) -> None:
    """Turn and trace are bound once and stand on every line of that task and those it began, nowhere else."""
    configure(LogSettings(), "gateway", stream)

    async def work(turn: str) -> None:
        with bound(turn=turn, trace_id=None):
            await asyncio.sleep(0)
            await asyncio.create_task(asyncio.to_thread(log.info, "inside"))

    await asyncio.gather(work("a"), work("b"))
    log.info("outside")
    told = lines(stream)
    assert sorted(line["turn"] for line in told[:2]) == ["a", "b"]
    assert "turn" not in told[2]
    assert all("trace_id" not in line for line in told)


def test_a_trace_s_id_is_taken_from_its_context() -> None:
    """The second part of a traceparent; none for what is no trace context."""
    assert trace_id("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") == "0af7651916cd43dd8448eb211c80319c"
    assert trace_id("not-one") is None
    assert trace_id(None) is None


@pytest.mark.parametrize("form", list(Form))
def test_an_error_is_one_line(stream: io.StringIO, form: Form) -> None:
    """An error is named in its line; the traceback comes only at the level debug."""
    for level, has_traceback in (("info", False), ("debug", True)):
        stream.truncate(0)
        stream.seek(0)
        configure(LogSettings(level=level, form=form), "gateway", stream)  # type: ignore[arg-type]
        try:
            raise ValueError("wrong")
        except ValueError:
            log.exception("failed")
        assert "ValueError: wrong" in stream.getvalue()
        assert ("Traceback" in stream.getvalue()) is has_traceback


def test_text_is_for_a_person(stream: io.StringIO) -> None:
    """The other form is a plain line with the same facts."""
    configure(LogSettings(form=Form.TEXT), "gateway", stream)
    with bound(turn="resp_1"):
        log.warning("slow")
    assert stream.getvalue().endswith(" warning gateway: slow turn=resp_1\n")


@pytest.mark.parametrize("row", QUIETED, ids=lambda row: row.text or row.logger)
def test_known_noise_is_quiet(stream: io.StringIO, row: Any) -> None:
    """Each line of the table is dropped, and the table says why."""
    configure(LogSettings(), "gateway", stream)
    level = row.level - 10 if not row.text else logging.ERROR
    logging.getLogger(row.logger).log(level, f"{row.text} {row.about}" if row.text else "noise")
    assert stream.getvalue() == ""
    assert row.reason


def test_only_a_changelog_may_go_unfetched(stream: io.StringIO) -> None:
    """Faust's complaint about a changelog is dropped, whatever stands before it; about an input it passes."""
    configure(LogSettings(), "enrichment", stream)
    faust = logging.getLogger("faust.transport.drivers.aiokafka")
    for topic in ("parley-enrichment-gate-changelog", "chat.moderated"):
        told = "[^--AIOKafkaConsumerThread]: Aiokafka has not sent fetch request for %r since start (started %s)"
        faust.error(told, TP(topic, 1), "now")
    [line] = lines(stream)
    assert "topic='chat.moderated'" in line["message"]


def test_what_is_not_in_the_table_is_heard(stream: io.StringIO) -> None:
    """Other lines of the same libraries pass."""
    configure(LogSettings(), "gateway", stream)
    logging.getLogger("aiokafka").error("something new")
    assert [line["message"] for line in lines(stream)] == ["something new"]


def test_foreign_debug_lines_stay_out(stream: io.StringIO) -> None:
    """Libraries print requests with their payload at debug: they are kept at info whatever our own level."""
    configure(LogSettings(level="debug"), "gateway", stream)
    logging.getLogger("aiokafka.conn").debug("Request with the user's text")
    log.debug("ours")
    assert [line["message"] for line in lines(stream)] == ["ours"]
