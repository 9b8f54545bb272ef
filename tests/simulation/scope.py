"""How much may happen in one run: small scopes find most races, and many of them fit an hour."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.topics import CLOSING_POOL
from schemas.turns import OnBusy


@dataclass(frozen=True, slots=True)
class Wish:
    """One turn that a user asks for."""

    on_busy: OnBusy = OnBusy.QUEUE
    is_refused: bool = False
    is_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The bounds of a run.

    Args:
        wishes: what is asked for, in order.
        pools: of each worker. One of `closing` is always among them.
        gates: how many.
        pieces: deltas of a whole answer.
        fetches_late: whether a rebalance may come between a fetch and its records.
        budget: how often each fault, and each wish that isn't a turn, may happen.
        wild_steps: after so many the faults are over.
    """

    wishes: tuple[Wish, ...] = (Wish(),)
    pools: tuple[str, ...] = ("a", "a", CLOSING_POOL)
    gates: int = 1
    pieces: int = 2
    fetches_late: bool = False
    budget: Mapping[str, int] = field(default_factory=dict)
    wild_steps: int = 120


FAULTS = (
    "crash", "crash", "freeze", "freeze", "freeze", "gate crash", "gate crash", "gate freeze", "gate freeze",
    "gate freeze", "engine", "group", "lost", "late", "unheard", "twice",
)  # fmt: skip
"""What goes wrong, some of it more often than the rest; see `faults.py`."""
WISHES = (
    "stop",
    "stop any",
    "reset",
    "delete",
    "again",
    "tick",
    "deadline",
    "hour",
    "prefer",
    "hand over",
    "give back",
)
"""What else may be wanted, or time may do; see `faults.py` and `people.py`."""


SILENCE: Final = "silence"
"""Time that passes where nobody is behind: see `people.py`."""
_SILENT: Final = 0.08


def drawn(chance: random.Random) -> Scope:
    """A scope at random: few turns, few faults, and in most runs only some kinds of them."""
    turns = chance.choice((1, 1, 1, 2, 2, 3))
    wishes = tuple(
        Wish(
            on_busy=chance.choice((OnBusy.QUEUE, OnBusy.QUEUE, OnBusy.QUEUE, OnBusy.INTERRUPT, OnBusy.REJECT)),
            is_refused=chance.random() < 0.08,
            is_new=number == 0 and chance.random() < 0.9,
        )
        for number in range(turns)
    )
    pools = chance.choice((("a",), ("a", "a"), ("a", "a"), ("a", "b"), ("a", "a", "b")))
    budget: dict[str, int] = {}
    for _ in range(chance.choice((1, 2, 2, 3, 3, 4))):
        kind = chance.choice(FAULTS)
        budget[kind] = budget.get(kind, 0) + 1
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        kind = chance.choice(WISHES)
        budget[kind] = budget.get(kind, 0) + 1
    if chance.random() < _SILENT:
        budget[SILENCE] = 3  # once for the close, once for the deletion, once to be forgotten
    return Scope(
        wishes=wishes,
        pools=(*pools, *(CLOSING_POOL,) * chance.choice((1, 1, 1, 2))),
        gates=chance.choice((1, 2, 2)),
        pieces=chance.choice((1, 2)),
        fetches_late=chance.random() < 0.2,
        budget=budget,
        wild_steps=40 + 40 * turns,
    )
