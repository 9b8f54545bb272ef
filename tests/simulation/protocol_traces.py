"""Schedules in which the protocol breaks without one of its rules: the model's traces T1 to T11 on the product's code.

They were found by `python -m tests.simulation --mutant NAME` and made short by it.
"""

from typing import Final

from schemas.turns import OnBusy
from tests.simulation.scope import Scope, Wish

PROTOCOL: Final = {
    "T1": (
        Scope(
            wishes=(
                Wish(on_busy=OnBusy.REJECT, is_refused=False, is_new=True),
                Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=False),
            ),
            pools=("a", "b", "closing"),
            gates=1,
            pieces=2,
            fetches_late=False,
            budget={"group": 1, "freeze": 1, "gate crash": 1, "again": 1, "give back": 1},
            wild_steps=120,
        ),
        """
        user | asks | T1
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        user | asks again | T1
        g0 | reads | chat.moderated
        g0 | lands | inference.a
        g0 | lands | inference.a
        fault | burns | g0
        g0 | starts
        g0 | joins
        g0 | opens
        g0 | reads | chat.moderated
        g0 | lands | states
        w0 | fetches
        g0 | lands | log
        g0 | lands | inference.a
        w0 | begins | 1
        w0 | lands | log
        w0 | reads | 1
        fault | crowds out | w0 0
        w0 | lands | log
        w0 | lands | chat.turns
        g0 | reads | chat.turns
        g0 | lands | states
        g0 | lands | inference.a
        w0 | fetches
        w0 | begins | 3
        w0 | goes on | 1
        w0 | lands | log
        w0 | lands | log
        w0 | reads | 3
        w0 | goes on | 3
        w0 | lands | log
        w0 | lands | log
        """,
    ),
    "T2": (
        Scope(
            wishes=(
                Wish(on_busy=OnBusy.INTERRUPT, is_refused=False, is_new=True),
                Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=False),
                Wish(on_busy=OnBusy.REJECT, is_refused=False, is_new=False),
            ),
            pools=("a", "a", "closing"),
            gates=1,
            pieces=1,
            fetches_late=False,
            budget={"gate freeze": 1, "freeze": 1, "engine": 1, "deadline": 1},
            wild_steps=160,
        ),
        """
        user | asks | T1
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        w0 | fetches
        w0 | begins | 0
        w0 | lands | log
        w0 | reads | 0
        fault | restarts the engine of | w0
        w0 | fetches
        w0 | lands | log
        w0 | begins | 0
        w0 | lands | log
        w0 | reads | 0
        w0 | lands | log
        w0 | goes on | 0
        w0 | lands | log
        """,
    ),
    "T3": (
        Scope(
            wishes=(
                Wish(on_busy=OnBusy.REJECT, is_refused=False, is_new=True),
                Wish(on_busy=OnBusy.INTERRUPT, is_refused=False, is_new=False),
            ),
            pools=("a", "a", "b", "closing", "closing"),
            gates=2,
            pieces=1,
            fetches_late=True,
            budget={"gate crash": 1, "twice": 1, "reset": 1, "stop any": 1},
            wild_steps=120,
        ),
        """
        user | asks | T1
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        user | asks | T2
        fault | doubles | g0 inference.a
        late | lands | g0 inference.a
        w0 | fetches
        w0 | takes in
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        g0 | lands | log
        g0 | lands | chat.control
        w4 | hears
        w2 | hears
        g0 | reads | chat.control
        w0 | hears
        g0 | commits
        w0 | begins | 1
        w0 | begins | 0
        w0 | lands | log
        w0 | lands | log
        w0 | reads | 0
        w0 | reads | 1
        w0 | lands | log
        w0 | reads | 0
        w0 | lands | log
        w0 | reads | 1
        w0 | tries again | 1
        w0 | reads | 1
        w0 | lands | log
        w0 | reads | 1
        w0 | commits
        w1 | hears
        w3 | hears
        """,
    ),
    "T5": (
        Scope(
            wishes=(Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=True),),
            pools=("a", "a", "closing", "closing"),
            gates=2,
            pieces=2,
            fetches_late=False,
            budget={"gate crash": 1, "crash": 1, "give back": 1, "reset": 1},
            wild_steps=80,
        ),
        """
        fault | kills | g0
        g1 | opens
        user | asks | T1
        g0 | starts
        g0 | joins
        g1 | reads | chat.moderated
        g1 | is revoked
        g1 | lands | states
        g1 | lands | log
        g1 | lands | inference.a
        w0 | fetches
        w0 | begins | 0
        g1 | opens
        g1 | reads | chat.moderated
        w0 | lands | log
        g1 | lands | log
        g1 | lands | inference.a
        w0 | fetches
        w0 | begins | 1
        w0 | lands | log
        w0 | reads | 1
        w0 | goes on | 1
        w0 | lands | log
        w0 | lands | log
        w0 | goes on | 1
        w0 | lands | log
        w0 | reads | 1
        w0 | lands | chat.usage
        """,
    ),
    "T6": (
        Scope(
            wishes=(
                Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=True),
                Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=False),
                Wish(on_busy=OnBusy.REJECT, is_refused=False, is_new=False),
            ),
            pools=("a", "closing"),
            gates=1,
            pieces=1,
            fetches_late=False,
            budget={"gate freeze": 2, "give back": 1, "again": 1},
            wild_steps=160,
        ),
        """
        user | asks | T1
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        fault | expels | g0
        g0 | is revoked
        g0 | lands | inference.a
        g0 | joins
        g0 | opens
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        user | asks | T2
        g0 | lands | inference.a
        w0 | fetches
        fault | crowds out | w0 1
        w0 | lands | chat.turns
        user | asks | T3
        w0 | begins | 0
        g0 | reads | chat.turns
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | states
        g0 | lands | inference.a
        w0 | lands | log
        g0 | lands | log
        store | stores
        g0 | reads | chat.moderated
        g0 | lands | log
        w0 | fetches
        w0 | begins | 2
        w0 | lands | log
        w0 | reads | 0
        g0 | lands | states
        w0 | lands | log
        w0 | reads | 2
        w0 | lands | log
        w0 | goes on | 0
        w0 | lands | log
        w0 | reads | 2
        w0 | lands | log
        w0 | reads | 0
        w0 | reads | 2
        w0 | lands | chat.usage
        w0 | lands | chat.turns
        store | stores
        g0 | reads | chat.turns
        g0 | lands | states
        g0 | lands | contexts
        g0 | lands | log
        g0 | lands | log
        g0 | reads back
        g0 | lands | chat.turns
        store | stores
        g0 | reads | chat.turns
        g0 | lands | states
        g0 | lands | contexts
        g0 | lands | inference.a
        w0 | fetches
        w0 | begins | 3
        w0 | lands | log
        w0 | reads | 3
        w0 | lands | log
        w0 | goes on | 3
        w0 | lands | log
        w0 | reads | 3
        w0 | lands | chat.usage
        w0 | lands | chat.turns
        store | stores
        g0 | reads | chat.turns
        w0 | commits
        g0 | lands | contexts
        g0 | lands | states
        g0 | commits
        """,
    ),
    "T10": (
        Scope(
            wishes=(Wish(on_busy=OnBusy.REJECT, is_refused=False, is_new=True),),
            pools=("a", "b", "closing"),
            gates=1,
            pieces=2,
            fetches_late=False,
            budget={"gate crash": 1, "engine": 1, "give back": 1, "stop any": 1},
            wild_steps=80,
        ),
        """
        user | asks | T1
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        w0 | fetches
        w0 | begins | 0
        fault | restarts the engine of | w0
        w0 | lands | log
        w0 | fetches
        fault | crowds out | w0 0
        w0 | lands | chat.turns
        store | stores
        g0 | reads | chat.turns
        g0 | lands | states
        g0 | lands | inference.a
        g0 | commits
        w0 | fetches
        w0 | begins | 1
        w0 | lands | log
        w0 | reads | 1
        w0 | commits
        """,
    ),
    "T7 unread": (
        Scope(
            wishes=(
                Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=True),
                Wish(on_busy=OnBusy.REJECT, is_refused=False, is_new=False),
                Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=False),
            ),
            pools=("a", "a", "closing"),
            gates=2,
            pieces=1,
            fetches_late=False,
            budget={"freeze": 2, "gate freeze": 1, "deadline": 1},
            wild_steps=160,
        ),
        """
        user | asks | T1
        user | asks | T2
        fault | expels | w0
        fault | expels | g0
        g0 | reads | chat.moderated
        w1 | is assigned
        g0 | lands | states
        w1 | opens
        g0 | lands | log
        g1 | opens
        g0 | lands | inference.a
        w1 | fetches
        w1 | begins | 0
        w1 | lands | log
        w1 | reads | 0
        w1 | goes on | 0
        w1 | lands | log
        g1 | reads | chat.moderated
        w1 | lands | log
        w1 | reads | 0
        w1 | lands | chat.usage
        w1 | lands | chat.turns
        g1 | lands | log
        g1 | lands | inference.a
        w0 | fetches
        w0 | begins | 1
        w0 | lands | log
        w0 | reads | 1
        g1 | reads | chat.moderated
        w0 | lands | chat.usage
        w0 | lands | chat.turns
        g1 | lands | states
        g1 | lands | log
        g1 | lands | log
        g1 | lands | chat.turns
        g1 | reads | chat.turns
        g1 | lands | states
        g1 | reads | chat.turns
        g1 | lands | contexts
        g1 | lands | states
        g1 | lands | log
        g1 | lands | chat.turns
        """,
    ),
    "T8": (
        Scope(
            wishes=(Wish(on_busy=OnBusy.REJECT, is_refused=False, is_new=True),),
            pools=("a", "a", "closing"),
            gates=2,
            pieces=1,
            fetches_late=False,
            budget={"gate freeze": 1, "delete": 1},
            wild_steps=80,
        ),
        """
        user | asks | T1
        user | deletes
        g0 | reads | chat.moderated
        fault | expels | g0
        g1 | opens
        g1 | reads | chat.moderated
        g1 | reads | chat.moderated
        g1 | lands | states
        g1 | lands | log
        g0 | is revoked
        g1 | lands | inference.a
        g1 | lands | states
        g1 | lands | chat.control
        g1 | reads | chat.control
        g1 | commits
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        g0 | joins
        g1 | is revoked
        g1 | opens
        w0 | hears
        w2 | hears
        w1 | hears
        g0 | opens
        w0 | fetches
        w0 | begins | 1
        w0 | begins | 0
        w0 | lands | log
        w0 | reads | 1
        w0 | lands | log
        w0 | reads | 0
        w0 | lands | log
        w0 | reads | 1
        w0 | lands | chat.usage
        w0 | lands | chat.turns
        g1 | reads | chat.turns
        store | stores
        w0 | commits
        g1 | lands | contexts
        g1 | lands | states
        g1 | commits
        """,
    ),
}
