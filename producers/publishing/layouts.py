"""How conversation logs lie in Kafka: how many spare topics that takes, and which of them nobody will use. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from schemas import ids
from schemas.ids import ConversationId

# Half of how long `conversations.spares` keeps a record: none is deleted while its spare is fresh.
SPARE_LIFE_MS: Final = 30 * 60 * 1000
# Four lives: a gateway whose clock is behind, or that was frozen with a spare in its hand, has that long to say so.
LEFTOVER_MS: Final = 4 * SPARE_LIFE_MS
# 50 topics are one round trip and are usable within 0.3 s; a zombie's last batch is no larger.
BATCH: Final = 50


class Layout(StrEnum):
    """`dedicated`: each conversation has its own topic. `lanes`: none has. `adaptive`: own ones while few are live."""

    DEDICATED = "dedicated"
    LANES = "lanes"
    ADAPTIVE = "adaptive"


def to_make(untaken: Mapping[int, int], target: int, room: int | None) -> dict[int, int]:
    """How many spares to make now for each partition: none until one is half empty, so that they come in batches.

    Args:
        untaken: spares that lie in each partition.
        target: how many shall lie in all of them together, rounded up to the same number in each.
        room: topics that may be made until the bound of live ones is met; None = there is no bound.
    """
    if not untaken or target <= 0:
        return {}
    level = -(-target // len(untaken))
    if min(untaken.values()) > level // 2:
        return {}
    left = BATCH if room is None else min(BATCH, room)
    lying, made = dict(untaken), dict.fromkeys(untaken, 0)
    while left > 0:
        # The emptiest first: it is the busiest gateway's.
        emptiest = min(lying, key=lambda each: (lying[each], each))
        if lying[emptiest] >= level:
            break
        lying[emptiest] += 1
        made[emptiest] += 1
        left -= 1
    return {partition: count for partition, count in made.items() if count > 0}


def is_fresh(spare: ConversationId, now_ms: int) -> bool:
    """Whether a spare may still become a conversation: so long nobody deletes its topic."""
    made_ms = ids.created_at_ms(ids.conversation_hex(spare))
    return made_ms is not None and now_ms - made_ms < SPARE_LIFE_MS


def overdue(there: Iterable[ConversationId], now_ms: int) -> tuple[ConversationId, ...]:
    """Of the conversations with an own topic those that nobody may begin any more: they have begun, or never will.

    One that is named by an idempotency key tells no time, and is never among them.
    """
    return tuple(each for each in there if _age_ms(each, now_ms) > LEFTOVER_MS)


def _age_ms(conversation: ConversationId, now_ms: int) -> int:
    made_ms = ids.created_at_ms(ids.conversation_hex(conversation))
    return -1 if made_ms is None else now_ms - made_ms
