import pytest

from producers.directory.deployments import Deployments
from schemas.errors import NotFound, Overloaded
from schemas.records import DeploymentSet
from tests.producers.support.asked import AT


def _set(pool: str, model: str, *tiers: str) -> DeploymentSet:
    return DeploymentSet(
        id=pool, at=AT, pool=pool, deployment=f"{model}-1", model=model, model_version="1", engine="simulated",
        max_model_len=100, tiers=tiers,
    )  # fmt: skip


def test_a_model_is_listed_once_and_by_tier() -> None:
    """Two pools of one model are one model; one of another tier isn't there; closing never is."""
    served = Deployments()
    for each in (_set("a", "m"), _set("b", "m"), _set("c", "gold-only", "gold"), _set("closing", "closing")):
        served.put(each)
    assert [each.model for each in served.models("standard")] == ["m"]
    assert [each.model for each in served.models("gold")] == ["gold-only", "m"]


def test_any_name_finds_it() -> None:
    """A client may say the model, the deployment or the pool."""
    served = Deployments()
    served.put(_set("default", "m"))
    for name in ("m", "m-1", "default"):
        found = served.find(name, "standard")
        assert found is not None
        assert found.model == "m"
    assert served.find("closing", "standard") is None


def test_what_answers_when_no_model_is_named() -> None:
    """The default pool, or the first there is; nothing deployed is an overload, nothing allowed a missing model."""
    served = Deployments()
    with pytest.raises(Overloaded):
        served.default("standard")
    served.put(_set("gold", "g", "gold"))
    with pytest.raises(NotFound):
        served.default("standard")
    served.put(_set("b", "b"))
    assert served.default("standard").model == "b"
    served.put(_set("default", "z"))
    assert served.default("standard").model == "z"
    served.forget("default")
    assert served.default("standard").model == "b"
