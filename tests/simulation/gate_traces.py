"""Schedules in which the gate's tables betray it without one of their rules, or a reader without the close of its log.

Only `state first` was met by a search for it, after 47 060 runs in scopes that suit; `unclosed` was written by hand.
The others came up in searches of the whole, once in some 50 000 runs each, and are written shorter here.
"""

from typing import Final

from schemas.turns import OnBusy
from tests.simulation.scope import Scope, Wish

_TWO_TURNS: Final = (
    Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=True),
    Wish(on_busy=OnBusy.QUEUE, is_refused=False, is_new=False),
)

GATE: Final = {
    "state first": (
        Scope(wishes=_TWO_TURNS, pools=("a", "closing"), gates=2, pieces=1, budget={"gate crash": 1}),
        """
        user | asks | T1
        user | asks | T2
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        w0 | fetches
        w0 | begins | 0
        w0 | lands | log
        w0 | reads | 0
        w0 | goes on | 0
        w0 | lands | log
        w0 | lands | log
        w0 | reads | 0
        w0 | lands | chat.usage
        w0 | lands | chat.turns
        g0 | reads | chat.turns
        g0 | lands | states               # T1 has left the order; what it said is on its way
        fault | kills | g0
        late | vanishes | g0 contexts
        g1 | opens
        g1 | reads | chat.moderated
        g1 | lands | states
        g1 | reads | chat.moderated
        g1 | lands | log
        g1 | lands | log
        g1 | lands | inference.a
        g1 | lands | inference.a
        """,
    ),
    "erased": (
        Scope(wishes=_TWO_TURNS, pools=("a", "closing"), gates=2, pieces=1, budget={"gate freeze": 2}),
        """
        user | asks | T1
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        g0 | commits
        user | asks | T2
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        w0 | fetches
        w0 | begins | 0
        w0 | lands | log
        w0 | reads | 0
        w0 | goes on | 0
        w0 | lands | log
        w0 | lands | log
        w0 | reads | 0
        w0 | lands | chat.usage
        w0 | lands | chat.turns
        fault | expels | g0
        g1 | opens
        g0 | reads | chat.turns           # a zombie: what T1 said, and then the state that speaks of it
        g0 | lands | contexts
        g1 | looks
        g1 | lands | contexts             # can't be taken: nothing answers the zombie here
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        g0 | is revoked
        g0 | joins
        fault | expels | g1
        g0 | opens
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        """,
    ),
    "unclosed": (
        Scope(wishes=_TWO_TURNS, pools=("a", "closing"), pieces=1, budget={"gate crash": 1, "silence": 1}),
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
        w0 | lands | log
        w0 | goes on | 0
        w0 | lands | log
        w0 | reads | 0
        w0 | lands | chat.usage
        w0 | lands | chat.turns
        g0 | reads | chat.turns
        g0 | lands | contexts
        g0 | lands | states
        store | stores
        user | waits | silence
        g0 | reads | chat.control
        g0 | lands | states               # the lane is its log from here on, and nobody was told
        fault | kills | g0
        g0 | starts
        g0 | joins
        g0 | opens
        user | asks | T2
        g0 | reads | chat.moderated
        g0 | lands | states
        g0 | lands | lane                 # and somebody who waits in the own topic hears nothing of it
        """,
    ),
    "theirs": (
        Scope(
            wishes=(Wish(on_busy=OnBusy.INTERRUPT, is_refused=False, is_new=True),),
            pools=("a", "closing"),
            gates=2,
            pieces=2,
            budget={"gate freeze": 2, "gate crash": 1, "delete": 1},
        ),
        """
        user | asks | T1
        g0 | reads | chat.moderated
        user | deletes
        fault | expels | g0
        g1 | opens
        g0 | reads | chat.moderated       # a zombie takes the delete in
        g0 | lands | states
        g0 | lands | log
        g0 | lands | inference.a
        g0 | lands | states
        g0 | lands | chat.control
        g0 | is revoked
        g0 | joins
        g1 | reads | chat.control         # its successor knows neither the turn nor the delete
        fault | expels | g1
        g0 | opens
        g0 | reads | chat.control
        g0 | lands | states
        g0 | reads | chat.moderated
        g0 | reads | chat.moderated       # the delete again, which changes nothing
        g0 | lands | log
        g0 | lands | inference.a
        g0 | lands | inference.a
        g0 | lands | chat.control
        g0 | reads | chat.control
        g0 | commits
        g1 | lands | states               # above the zombie's, below what its owner would have written
        fault | kills | g0
        """,
    ),
}
