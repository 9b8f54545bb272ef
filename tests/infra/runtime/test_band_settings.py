"""What a tier may be told."""

import pytest

from infra.runtime.band_settings import MAX_DEADLINE_S, BandSettings
from producers.admission import limits


def test_a_tier_without_a_table_has_defaults() -> None:
    """A tier that nobody described shares equally, names no deadline and is tried five times."""
    band = BandSettings()
    assert (band.priority, band.weight, band.deadline_s, band.max_attempts) == (0, 1.0, None, 5)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"weight": 0.0}, "weight"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"deadline_s": 0.0}, "deadline_s"),
        ({"deadline_s": MAX_DEADLINE_S + 1}, "deadline_s"),
    ],
)
def test_what_nobody_could_obey_is_refused(given: dict[str, float], fault: str) -> None:
    """A share, a number of attempts or a deadline out of its range is refused by name."""
    with pytest.raises(ValueError, match=fault):
        BandSettings(**given)  # type: ignore[arg-type]


def test_faults_are_told_together() -> None:
    """Whoever writes the table learns of all that is wrong at once."""
    with pytest.raises(ValueError, match=r"weight[\s\S]*deadline_s"):
        BandSettings(weight=-1.0, deadline_s=-1.0)


def test_a_tier_and_a_client_are_bound_alike() -> None:
    """What a client may ask for is as long as what a tier may be given."""
    assert limits.MAX_DEADLINE_S == MAX_DEADLINE_S
