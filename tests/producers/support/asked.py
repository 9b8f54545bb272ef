"""A TurnRequested for pure tests."""

from schemas import ids, topics
from schemas.records import TurnRequested
from schemas.turns import TurnRequest

CONVERSATION = ids.conversation_id("0192f0a0c0de7000800000000000000a")
TURN = ids.turn_id(CONVERSATION, "0192f0a0c0de7001800000000000000b")
AT = "2026-01-31T12:00:00.123Z"


def requested(*, text: str = "hello", stored: bool = True) -> TurnRequested:
    return TurnRequested(
        id=f"{TURN}.requested", at=AT, tenant="acme", conversation=CONVERSATION, turn=TURN,
        request=TurnRequest(
            user="anna", key_id="k1", tier="standard", text=text,
            log=topics.address(CONVERSATION, retired=True, stored=stored, lanes=4),
            accepted_at=AT, deadline_at="2026-01-31T12:10:00.123Z", new=True, stored=stored, parent=None,
        ),
    )  # fmt: skip
