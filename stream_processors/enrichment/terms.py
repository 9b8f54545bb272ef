"""What the settings say of turns: by tier, by pool, by tenant. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.runtime.band_settings import BandSettings
from stream_processors.enrichment.settings import FallbackSettings
from stream_processors.enrichment.state import OpenTurn


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """See the module.

    Args:
        bands: by tier. fallbacks: by pool. instructions: by tenant.
        answer_tokens: room for an answer whose length nobody asked for.
    """

    bands: Mapping[str, BandSettings] = field(default_factory=dict)
    fallbacks: Mapping[str, FallbackSettings] = field(default_factory=dict)
    instructions: Mapping[str, str] = field(default_factory=dict)
    answer_tokens: int

    @property
    def priorities(self) -> dict[str, int]:
        """Each tier's."""
        return {tier: band.priority for tier, band in self.bands.items()}

    def band(self, tier: str) -> BandSettings:
        """The tier's band; one that nobody has set is as the defaults say."""
        return self.bands.get(tier, BandSettings())

    def fallback(self, turn: OpenTurn) -> FallbackSettings | None:
        """Of the pool that the turn was meant for, whichever it is in by now."""
        return self.fallbacks.get(turn.origin or turn.pool or "")
