"""Which of the resolved jars are kept."""

import pytest

from infra.local.jars import read_lock
from infra.local.lock import ROOTS, is_needed


@pytest.mark.parametrize(
    ("coordinate", "needed"),
    [
        ("org.hyperic:sigar:1.6.4", True),
        ("io.netty:netty-transport-native-epoll:4.1:linux-x86_64", True),
        ("io.netty:netty-transport-native-kqueue:4.1:osx-aarch_64", False),
        ("org.gridkit.jvmtool:sjk-core:0.14", False),
        ("com.datastax.cassandra:cassandra-driver-core:3.12.1:shaded", False),
    ],
)
def test_tools_and_foreign_natives_are_dropped(coordinate: str, *, needed: bool) -> None:
    """The daemon's own jars stay, sigar among them; tools and other systems' natives go."""
    assert is_needed(coordinate) is needed


def test_the_lock_was_made_of_these_roots() -> None:
    """The committed lock and the tool speak of the same versions."""
    assert {name: program.roots for name, program in read_lock().items()} == ROOTS
