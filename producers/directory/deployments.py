"""The models that can be asked for: `fleet.deployments` in memory. Pure."""

from typing import Final

from schemas.errors import NotFound, Overloaded
from schemas.records import DeploymentSet
from schemas.topics import CLOSING_POOL

_DEFAULT_POOL: Final = "default"


class Deployments:
    """What each pool serves."""

    def __init__(self) -> None:
        self._pools: Final[dict[str, DeploymentSet]] = {}

    def put(self, deployment: DeploymentSet) -> None:
        """The pool serves this from now on."""
        self._pools[deployment.pool] = deployment

    def forget(self, pool: str) -> None:
        """The pool is gone."""
        self._pools.pop(pool, None)

    def models(self, tier: str) -> tuple[DeploymentSet, ...]:
        """One deployment for each model that the tier may use, by the model's name."""
        served = {each.model: each for each in reversed(self._usable(tier))}
        return tuple(served[model] for model in sorted(served))

    def find(self, name: str, tier: str) -> DeploymentSet | None:
        """The deployment that a client means by this name: of a model, a deployment or a pool; None = nothing."""
        usable = [each for each in self._usable(tier) if name in (each.model, each.deployment, each.pool)]
        return usable[0] if usable else None

    def default(self, tier: str) -> DeploymentSet:
        """What answers a request that names no model.

        Raises:
            Overloaded: nothing is deployed.
            NotFound: the tier may use nothing of what is.
        """
        served = self.models(tier)
        if not served:
            if self._pools.keys() - {CLOSING_POOL}:
                raise NotFound("no model is served to this key's tier", param="model")
            raise Overloaded("no model is deployed yet: try again soon")
        return next((each for each in served if each.pool == _DEFAULT_POOL), served[0])

    def _usable(self, tier: str) -> list[DeploymentSet]:
        return [
            each
            for pool, each in sorted(self._pools.items())
            if pool != CLOSING_POOL and (not each.tiers or tier in each.tiers)
        ]
