"""What rights say of themselves."""

from delivery.protocol.access import Access
from schemas.identity import Principal


def test_a_gateway_has_no_principal() -> None:
    """The internal token stands for nobody: who has a principal is no gateway."""
    somebody = Principal(tenant="acme", key_id="k", tier="standard", scopes=())
    assert Access(principal=None).is_internal
    assert not Access(principal=somebody).is_internal
