"""Where in a log the fold for a reader begins, told by the rows that are stored already. Pure.

A row's `log_start` lies before every `turn.accepted` of its turn, and of every turn that was open at its end (the
project's DESIGN.md, "Where a reader begins"). That holds for the last row below which none is missing: turns may end
out of their order, and a row above a missing one says nothing about the one that is still open.
"""

import itertools
from collections.abc import Sequence
from typing import Final

from schemas.records import TurnCompleted
from schemas.turns import LogAddress

# Clocks of gateway and gate may differ by that much before a record is missed in a lane.
MARGIN_MS: Final = 60_000
# A place in the conversation that stays empty for more turns than can wait at once was deleted, not delayed.
_WINDOW: Final = 8


def anchor(rows: Sequence[TurnCompleted]) -> TurnCompleted | None:
    """The row from which the fold begins; None without rows, or where the first of all turns may still be open.

    Args:
        rows: newest first, as the store gives them; fewer than were asked for are all there are.
    """
    if rows and len(rows) <= _WINDOW and rows[-1].n > 1:
        return None
    found = rows[0] if rows else None
    for newer, older in itertools.pairwise(rows[: _WINDOW + 1]):
        if older.n != newer.n - 1:
            found = older
    return found


def start_of(row: TurnCompleted | None, log: LogAddress) -> int | None:
    """The row's place in this log; None when it tells none: no row, a first turn, or another log."""
    return row.log_start if row is not None and row.log == log else None
