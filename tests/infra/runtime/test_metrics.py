"""The table of metrics: the contract's names, no label that tells a person, made by their kind."""

import re
from pathlib import Path

import pytest

from infra.runtime.metrics import METRICS, Kind, Metrics
from schemas.errors import InvariantBroken

CONTRACT = Path(__file__).parents[3] / "docs" / "contract.md"


def test_the_table_is_the_contract_s() -> None:
    """Every metric that the contract names is in the table with its labels; the table may have more."""
    section = CONTRACT.read_text(encoding="utf-8").partition("## 9.")[2]
    named = re.findall(r"`(parley_[a-z_]+|_[a-z_]+)(?:\{([a-z,]+)\})?`", section)
    full: dict[str, tuple[str, ...]] = {}
    family = ""
    for name, labels in named:
        if name.startswith("parley_"):
            family = name
            full[name] = tuple(labels.split(",")) if labels else ()
        else:
            # "`parley_turn_ttft_seconds`, `_itl_seconds`": the last word of the family is replaced.
            stem = "parley_turn" if family.startswith("parley_turn_") else "parley_queue"
            full[stem + name] = tuple(labels.split(",")) if labels else ()
    assert len(full) >= 16
    assert set(full) <= set(METRICS)
    for name, labels in full.items():
        if labels and name != "parley_queue_turns":
            assert METRICS[name].labels == labels


def test_no_label_tells_a_person() -> None:
    """No label holds a tenant, user, conversation or turn."""
    forbidden = {"tenant", "user", "conversation", "turn", "key", "key_id"}
    assert not [row.name for row in METRICS.values() if forbidden & set(row.labels)]


def test_every_row_can_be_made_and_scraped() -> None:
    """A registry makes each row under its very name."""
    metrics = Metrics("gateway")
    for row in METRICS.values():
        values = ["x"] * len(row.labels)
        match row.kind:
            case Kind.COUNTER:
                counter = metrics.counter(row.name)
                assert metrics.counter(row.name) is counter
                (counter.labels(*values) if values else counter).inc()
            case Kind.GAUGE:
                gauge = metrics.gauge(row.name)
                (gauge.labels(*values) if values else gauge).set(1)
            case Kind.HISTOGRAM:
                histogram = metrics.histogram(row.name)
                (histogram.labels(*values) if values else histogram).observe(1)
    told = metrics.exposition().decode()
    for row in METRICS.values():
        assert re.search(rf"^{row.name}(_bucket|{{| )", told, re.MULTILINE), row.name
    assert 'parley_build_info{python="3.' in told
    assert "process_resident_memory_bytes" in told


def test_what_no_row_says_is_a_bug() -> None:
    """A name that isn't in the table, or is of another kind, can't be counted."""
    metrics = Metrics("gateway")
    with pytest.raises(InvariantBroken):
        metrics.counter("parley_new_total")
    with pytest.raises(InvariantBroken):
        metrics.gauge("parley_turns_total")
