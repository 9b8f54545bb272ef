"""Why a program ended, judged by its last words."""

from pathlib import Path

import pytest

from infra.local.errors import DataForeign, DiskFull, PortTaken, StartFailed, TooLittleMemory
from infra.local.program import why_it_ended
from schemas.errors import ParleyError


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("java.io.IOException: No space left on device", DiskFull),
        ("java.net.BindException: Address already in use", PortTaken),
        ("Terminating due to java.lang.OutOfMemoryError: Java heap space", TooLittleMemory),
        ("There is insufficient memory for the Java Runtime Environment to continue.", TooLittleMemory),
        ("o.a.c.io.sstable.CorruptSSTableException: Corrupted", DataForeign),
        ("JVM Arguments: [-Xmx256m, -XX:+ExitOnOutOfMemoryError]", StartFailed),
        ("something else", StartFailed),
    ],
)
def test_last_words_become_one_line(words: str, kind: type[ParleyError]) -> None:
    """Each known death has its own error, one line with the log's place."""
    error = why_it_ended("Kafka", 1, f"INFO all is well\n{words}\n", Path("/d/kafka.log"))
    assert type(error) is kind
    assert "\n" not in str(error)
    assert "/d/kafka.log" in str(error)


def test_a_signal_is_called_one() -> None:
    """A negative status is a signal."""
    assert "by signal 9" in str(why_it_ended("Kafka", -9, "", Path("/x")))
