"""How the tail polls; each number with its reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TailTuning:
    """Measured on one broker with up to 10 000 topics (DESIGN.md, "The tail").

    Args:
        cold_polls: long polls for quiet logs, each a session; a broker walks every member of a session at each fetch,
            about 5 us each, so that few members in many sessions keep a wake-up short. A broker has 1 000 sessions.
        short_wait_ms: longest wait of the poll for logs that were just added or woken: how long the next one may wait.
        wait_ms: longest wait of the others: each time one ends, the broker walks its members.
        quiet_s: silence after which a log is quiet.
        pause_us, entry_pause_us: least pause behind an answer that brought something, and pause for each record in it,
            up to `busy_pause_ms`, so that the next one brings more: a fetch costs a node as much as four records. It is
            1 ms at 500 records/s, and 5 ms from some 6 000/s on.
        answer_bytes: of one answer. log_bytes: of one log in it; a larger record comes alone.
    """

    cold_polls: int = 16
    short_wait_ms: int = 10
    wait_ms: int = 1000
    quiet_s: float = 5.0
    pause_us: int = 1000
    entry_pause_us: int = 150
    busy_pause_ms: int = 5
    answer_bytes: int = 8 * 1024 * 1024
    log_bytes: int = 1024 * 1024
