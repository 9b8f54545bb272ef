"""What a chaos run does, drawn from one seed: who says what, who is stopped, whose socket is cut, who is killed when.

Pure: the same seed and scale give the same plan, so that a failure can be run again.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tests.support.contract import words

TENANTS: Final = ("acme", "globex", "initech")

# Harsher than any day: a kill every 2 to 5 s, 30 % of turns stopped, 30 % of sockets cut.
_KILL_EVERY_S: Final = (2.0, 5.0)
_STOPPED: Final = 0.3
_CUT: Final = 0.3
_FROZEN: Final = 0.3
# Beyond every session timeout (workers 3 s, gate and moderation 10 s), so that whoever comes back is a zombie.
_FREEZE_S: Final = (4.0, 14.0)
# At 40 tokens/s: answers of half a second to three seconds.
_TOKENS: Final = (20, 120)
_QUEUED: Final = 0.15
_UNSTORED: Final = 0.08
_RESET: Final = 0.15
_DELETED: Final = 0.1
_MADE_FIRST: Final = 0.6


class Way(Enum):
    """How a turn is sent and its answer read, beside the WebSocket reader that each stored conversation has."""

    STREAM = "HTTP stream"
    WHOLE = "HTTP, whole answer"
    BACKGROUND = "HTTP, background"
    SOCKET = "WebSocket"
    UNSTORED = "chat completion, not stored"


_WAYS: Final = {Way.STREAM: 5, Way.WHOLE: 2, Way.BACKGROUND: 1, Way.SOCKET: 4}


class Tier(Enum):
    """What can be killed, by its role in `parley ps`."""

    GATEWAY = "gateway"
    MODERATION = "moderation"
    ENRICHMENT = "enrichment"
    PERSISTENCE = "persistence"
    WORKER = "inference"
    DELIVERY = "delivery"
    KAFKA = "kafka"
    CASSANDRA = "cassandra"


# Workers and processors: the ones that a group expels and that come back as zombies.
FREEZABLE: Final = frozenset({Tier.MODERATION, Tier.ENRICHMENT, Tier.PERSISTENCE, Tier.WORKER})


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """One message.

    Args:
        tokens: of its answer, which is `w0 w1 ...`.
        stop_after_s: seconds behind its acceptance until somebody stops it; None = nobody does.
        cut_after_s: seconds behind its acceptance until the reader's socket is cut; None = it isn't.
        waits: False: the next one is sent without waiting for its end.
    """

    key: str
    way: Way
    tokens: int
    stop_after_s: float | None
    cut_after_s: float | None
    waits: bool

    @property
    def text(self) -> str:
        """What is said."""
        return f"tokens: {self.tokens}"

    @property
    def answer(self) -> str:
        """What an engine that nobody disturbs answers (contract, section 8)."""
        return words(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPlan:
    """One conversation.

    Args:
        is_made_first: by `POST /v1/conversations`, so that it may have an own topic; else its first turn makes it.
        reset_before: the turn before which its context is begun anew; None = it isn't.
        is_deleted: once all its turns have ended.
    """

    number: int
    tenant: str
    is_made_first: bool
    turns: tuple[TurnPlan, ...]
    reset_before: int | None = None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KillPlan:
    """One blow.

    Args:
        wait_s: seconds since the one before.
        pick: which of the tier's processes, in [0, 1).
        freeze_s: seconds between SIGSTOP and SIGCONT; None = SIGKILL.
    """

    wait_s: float
    tier: Tier
    pick: float
    freeze_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of it. `side_by_side`: conversations that speak at once."""

    turns: int = 2000
    conversations: int = 200
    side_by_side: int = 24


def conversations(seed: int, scale: Scale) -> tuple[ConversationPlan, ...]:
    """Every conversation of the run; the turns are spread over them as evenly as they can be."""
    chance = random.Random(f"{seed} conversations")
    share, more = divmod(scale.turns, scale.conversations)
    found = []
    for number in range(scale.conversations):
        is_unstored = chance.random() < _UNSTORED
        count = share + (number < more)
        turns = tuple(_turn(chance, f"{seed}-{number}-{each}", is_unstored=is_unstored) for each in range(count))
        found.append(
            ConversationPlan(
                number=number,
                tenant=chance.choice(TENANTS),
                is_made_first=chance.random() < _MADE_FIRST,
                turns=turns,
                reset_before=chance.randrange(1, count) if chance.random() < _RESET and count > 1 else None,
                is_deleted=chance.random() < _DELETED,
            )
        )
    return tuple(found)


def _turn(chance: random.Random, key: str, *, is_unstored: bool) -> TurnPlan:
    way = Way.UNSTORED if is_unstored else chance.choices(list(_WAYS), list(_WAYS.values()))[0]
    tokens = chance.randint(*_TOKENS)
    # A chat completion's client has no id to stop by: it can only go away, which `UNSTORED` clients do not.
    is_stopped = chance.random() < _STOPPED and way is not Way.UNSTORED
    return TurnPlan(
        key=f"chaos-{key}",
        way=way,
        tokens=tokens,
        stop_after_s=chance.uniform(0, tokens / 40) if is_stopped else None,
        cut_after_s=chance.uniform(0, tokens / 40) if chance.random() < _CUT else None,
        waits=way is Way.UNSTORED or chance.random() >= _QUEUED,
    )


def kills(seed: int) -> Iterator[KillPlan]:
    """Blow after blow, without an end."""
    chance = random.Random(f"{seed} kills")
    while True:
        tier = chance.choice(list(Tier))
        is_frozen = tier in FREEZABLE and chance.random() < _FROZEN
        yield KillPlan(
            wait_s=chance.uniform(*_KILL_EVERY_S),
            tier=tier,
            pick=chance.random(),
            freeze_s=chance.uniform(*_FREEZE_S) if is_frozen else None,
        )
