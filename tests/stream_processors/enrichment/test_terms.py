from infra.runtime.band_settings import BandSettings
from stream_processors.enrichment.settings import FallbackSettings
from stream_processors.enrichment.state import OpenTurn, Status
from stream_processors.enrichment.terms import Terms
from tests.stream_processors.enrichment.simulation import turn_id


def test_a_tier_that_nobody_has_set_is_as_the_defaults_say() -> None:
    """Its band is the default one; priorities name the tiers that are set."""
    gold = BandSettings(priority=3, max_attempts=2)
    terms = Terms(bands={"gold": gold}, answer_tokens=1)
    assert terms.band("gold") is gold
    assert terms.band("other") == BandSettings()
    assert terms.priorities == {"gold": 3}


def test_a_fallback_is_of_the_pool_that_the_turn_was_meant_for() -> None:
    """A turn that fell back, or closes, still has the fallback of its first pool; one without a pool has none."""
    large, small = FallbackSettings(sentence="L"), FallbackSettings(sentence="S")
    terms = Terms(fallbacks={"large": large, "small": small}, answer_tokens=1)

    def turn(pool: str | None, origin: str | None) -> OpenTurn:
        return OpenTurn(turn=turn_id(1), status=Status.ACTIVE, order=1, deadline_ms=9, pool=pool, origin=origin)

    assert terms.fallback(turn("large", None)) is large
    assert terms.fallback(turn("small", "large")) is large
    assert terms.fallback(turn("other", None)) is None
    assert terms.fallback(turn(None, None)) is None
