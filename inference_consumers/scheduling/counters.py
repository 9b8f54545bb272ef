"""Virtual token counters: which tenant has had the least service for its weight (VTC).

Pure. Service = 1 a prompt token that was not in the engine's memory + 2 a generated one, charged as they appear and
divided by the tenant's weight. Source: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, section 4.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

PROMPT_WEIGHT: Final = 1.0
GENERATED_WEIGHT: Final = 2.0


@dataclass(slots=True)
class TokenCounters:
    """The counters of one band. A new process starts all of them level."""

    _counters: dict[str, float] = field(default_factory=dict)
    _floor: float = 0.0  # where the last active tenant stood when it left

    def service(self, tenant: str) -> float:
        """What the tenant has had so far."""
        return self._counters.get(tenant, self._floor)

    def enter(self, tenant: str, active: Iterable[str]) -> None:
        """The tenant has work again: it is lifted to the least served active one, so that idling saves nothing up.

        Args:
            active: tenants with work, without this one.
        """
        level = min((self.service(other) for other in active), default=self._floor)
        self._counters[tenant] = max(self._counters.get(tenant, level), level)

    def leave(self, tenant: str, active: Iterable[str]) -> None:
        """The tenant has no work left. `active` is as in `enter`."""
        self._floor = max(self._floor, self.service(tenant)) if not list(active) else self._floor

    def charge(self, tenant: str, weight: float, *, prompt_tokens: int = 0, generated_tokens: int = 0) -> None:
        """Count service; a negative number gives back what was charged too much."""
        service = PROMPT_WEIGHT * prompt_tokens + GENERATED_WEIGHT * generated_tokens
        self._counters[tenant] = self.service(tenant) + service / weight

    def forget(self, active: Iterable[str]) -> None:
        """Drop the counters of tenants that are not active and stand below every active one: entering lifts them."""
        kept = set(active)
        level = min((self.service(tenant) for tenant in kept), default=self._floor)
        self._counters = {tenant: count for tenant, count in self._counters.items() if tenant in kept or count > level}
