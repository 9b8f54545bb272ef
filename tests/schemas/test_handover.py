from schemas import codec
from schemas.frames import Send, Stop
from schemas.handover import SendHanded, StopHanded
from schemas.identity import Principal

ANNA = Principal(tenant="acme", key_id="k1", tier="standard", scopes=("read", "write"), user="anna")


def test_what_is_handed_over_reads_back() -> None:
    """A gateway reads exactly what delivery wrote, the principal with it."""
    for handed in (
        SendHanded(principal=ANNA, send=Send(text="hi", ref=1)),
        StopHanded(principal=ANNA, stop=Stop(ref="x")),
    ):
        assert codec.convert(codec.parse(codec.encode(handed)), type(handed)) == handed
