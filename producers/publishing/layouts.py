"""How conversation logs lie in Kafka, and how many spare topics that takes. Pure."""

from enum import StrEnum


class Layout(StrEnum):
    """`dedicated`: each conversation has its own topic. `lanes`: none has. `adaptive`: own ones while few are live."""

    DEDICATED = "dedicated"
    LANES = "lanes"
    ADAPTIVE = "adaptive"


def missing_spares(layout: Layout, at_hand: int, target: int, live: int, most: int) -> int:
    """How many spares to make now; 0 until half are gone, so that they are made in batches.

    Args:
        at_hand: spares that exist. target: how many shall. live: conversations with a topic of their own.
        most: topics that may live at once, spares included; `dedicated` knows no such bound.
    """
    if layout is Layout.LANES or at_hand > target // 2:
        return 0
    wanted = target - at_hand
    return wanted if layout is Layout.DEDICATED else max(0, min(wanted, most - live - at_hand))
