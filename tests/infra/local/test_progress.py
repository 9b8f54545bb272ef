"""How a load is shown."""

import io

from infra.local.progress import Progress, bar


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_the_bar_says_how_much_of_how_much() -> None:
    """The bar grows from none to all and never past it."""
    assert bar("Kafka", 0, 10_000_000) == "Kafka [" + "-" * 30 + "] 0.0 of 10.0 MB"
    assert bar("Kafka", 10_000_000, 10_000_000) == "Kafka [" + "#" * 30 + "] 10.0 of 10.0 MB"
    assert bar("Kafka", 20_000_000, 10_000_000).count("#") == 30


def test_a_terminal_gets_one_line_redrawn() -> None:
    """On a terminal every state overwrites the one before, and only the last ends the line."""
    stream = Terminal()
    progress = Progress("Kafka", 2_000_000, stream)
    progress.add(1_000_000)
    progress.finish()
    assert stream.getvalue().count("\n") == 1
    assert "\r" in stream.getvalue()


def test_a_file_gets_plain_lines() -> None:
    """Elsewhere there is no carriage return: a line when it begins, one when it ends."""
    stream = io.StringIO()
    progress = Progress("Kafka", 2_000_000, stream)
    progress.add(2_000_000)
    progress.finish()
    assert stream.getvalue().splitlines()[0] == "Kafka: loading 2.0 MB"
    assert "\r" not in stream.getvalue()
