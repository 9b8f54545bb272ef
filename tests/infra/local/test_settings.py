"""The `[local]` section."""

import pytest

from infra.local.settings import LocalSettings


def test_all_faults_are_told_together() -> None:
    """Wrong ports, heaps and limits are named in one go."""
    with pytest.raises(ValueError, match="must") as caught:
        LocalSettings(kafka_port=-1, cassandra_heap_mb=1, stop_limit_s=0)
    assert len(str(caught.value).splitlines()) == 3
