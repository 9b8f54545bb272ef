"""`/v1/models`."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from producers.directory.following import Directory
from producers.ingress import errors
from producers.ingress.callers import Callers
from producers.relay.response_view import listed
from schemas import identity, instants
from schemas.errors import NotFound
from schemas.records import DeploymentSet


class Models:
    """Lists what can be asked."""

    def __init__(self, who: Callers, directory: Directory) -> None:
        self._callers = who
        self._directory = directory

    @property
    def routes(self) -> Sequence[web.RouteDef]:
        """What is served; a model's name may hold slashes."""
        return (web.get("/v1/models", self.list_all), web.get("/v1/models/{model:.+}", self.retrieve))

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        """List the models of the caller's tier."""
        principal = await self._callers.principal(request, identity.READ)
        served = self._directory.deployments.models(principal.tier)
        return errors.json_answer(listed(map(_shown, served), has_more=False))

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Show one model."""
        principal = await self._callers.principal(request, identity.READ)
        name = request.match_info["model"]
        found = self._directory.deployments.find(name, principal.tier)
        if found is None:
            raise NotFound(f"there is no model {name[:100]!r}", param="model")
        return errors.json_answer(_shown(found))


def _shown(deployment: DeploymentSet) -> dict[str, Any]:
    return {
        "id": deployment.model,
        "object": "model",
        "created": instants.to_ms(deployment.at) // 1000,
        "owned_by": "parley",
        "max_model_len": deployment.max_model_len,
    }
