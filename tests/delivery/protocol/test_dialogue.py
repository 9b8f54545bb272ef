"""One connection's ledger: every phase with every input, and what each frame asks of the shell."""

import json
from typing import Any

import pytest

from delivery.protocol.access import Access
from delivery.protocol.closing import Cause
from delivery.protocol.dialogue import NEXT, Bounds, Dialogue, Hand, Input, Join, Leave, Phase, Renew
from delivery.protocol.events import LogEvent
from schemas.errors import ErrorCode, InvariantBroken
from schemas.fold import ConversationFold
from schemas.frames import CloseCode
from schemas.identity import Principal
from schemas.ids import ConversationId
from schemas.records import LogRecord
from tests.delivery.protocol.readings import entries, logged, write
from tests.delivery.protocol.test_outbox import frames
from tests.support.logs import TURNS, delta, ended, moved
from tests.support.samples import CONVERSATION

SOMEBODY = Principal(tenant="acme", key_id="k", tier="standard", scopes=("read", "write"))
NOW_MS = 1_700_000_000_000


def dialogue(phase: Phase = Phase.OPEN, principal: Principal | None = SOMEBODY, **bounds: int) -> Dialogue:
    """A ledger in that phase."""
    made = Dialogue(Bounds(**bounds), [])
    if phase is not Phase.ADMITTING:
        made.admitted(Access(principal=principal), NOW_MS)
    if phase is Phase.CLOSED:
        made.end(Cause.DRAINING)
    return made


def say(ledger: Dialogue, **frame: Any) -> list[dict[str, Any]]:
    """What is answered to this frame at once."""
    ledger.received(json.dumps(frame).encode(), NOW_MS)
    return frames(ledger.outbox.take())


def subscribe(ledger: Dialogue, conversation: str = CONVERSATION, **more: Any) -> Join:
    """The command for a subscribe."""
    assert say(ledger, type="subscribe", conversation=conversation, **more) == []
    command = ledger.commands[-1]
    assert isinstance(command, Join)
    return command


def event(record: LogRecord, offset: int = 0) -> LogEvent:
    """The record as readers get it."""
    return LogEvent(logged(entries([record], offset)[0]), CONVERSATION, f"p{offset}")


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("given", list(Input))
def test_every_phase_with_every_input(phase: Phase, given: Input) -> None:
    """A pair in the table moves as it says; one that isn't is a bug; after the end nothing is sent."""
    ledger = dialogue(phase)
    acts = {
        Input.ADMITTED: lambda: ledger.admitted(Access(principal=SOMEBODY), NOW_MS),
        Input.FRAMED: lambda: ledger.received(b'{"type":"ping"}', NOW_MS),
        Input.RENEWED: lambda: ledger.renewed(Access(principal=SOMEBODY), None),
        Input.ENDED: lambda: ledger.end(Cause.EXPIRED),
        Input.LOST: ledger.lost,
    }
    if (phase, given) not in NEXT:
        with pytest.raises(InvariantBroken):
            acts[given]()
        return
    acts[given]()
    assert ledger.phase is NEXT[phase, given]
    if ledger.phase is Phase.CLOSED:
        ledger.outbox.clear()
        ledger.fault(None, ErrorCode.NOT_FOUND, "late")
        assert not ledger.outbox


def test_early_frames_wait_for_admission() -> None:
    """Frames that come before their sender is known are read in order once it is, and are bounded."""
    ledger = dialogue(Phase.ADMITTING, early_frames=2)
    for ref in (1, 2):
        assert say(ledger, type="ping", ref=ref) == []
    ledger.admitted(Access(principal=SOMEBODY), NOW_MS)
    assert [frame["ref"] for frame in frames(ledger.outbox.take())] == [1, 2]
    flood = dialogue(Phase.ADMITTING, early_frames=2)
    for ref in (1, 2, 3):
        say(flood, type="ping", ref=ref)
    assert flood.closing is not None
    assert flood.closing.code == CloseCode.BAD_FRAME


def test_a_ping_is_answered_with_the_time() -> None:
    """`pong` has the ref and the instant."""
    assert say(dialogue(), type="ping", ref="r") == [{"type": "pong", "ref": "r", "at": "2023-11-14T22:13:20.000Z"}]


def test_a_second_subscribe_begins_anew() -> None:
    """A client that subscribes to what it reads already leaves its old place; a gateway's other refs stay."""
    ledger = dialogue()
    first, second = subscribe(ledger).subscription, subscribe(ledger).subscription
    assert first.is_over
    assert not second.is_over
    assert [type(each) for each in ledger.commands] == [Join, Leave, Join]
    gateway = dialogue(principal=None)
    kept = subscribe(gateway, ref=1, turn=TURNS[0]).subscription
    other = subscribe(gateway, ref=2, turn=TURNS[0]).subscription
    say(gateway, type="unsubscribe", conversation=CONVERSATION, ref=1)
    assert (kept.is_over, other.is_over) == (True, False)


def test_what_clients_may_not() -> None:
    """Fields of gateways, turns of other conversations, too many subscriptions and too many words are errors."""
    ledger = dialogue(subscriptions=1, handed=1)
    log = {"topic": "t", "partition": 0}
    assert say(ledger, type="subscribe", conversation=CONVERSATION, log=log)[0]["code"] == "forbidden"
    assert say(ledger, type="subscribe", conversation=CONVERSATION, turn=TURNS[0])[0]["code"] == "forbidden"
    subscribe(ledger)
    assert say(ledger, type="subscribe", conversation="conv_" + "2" * 32)[0]["code"] == "overloaded"
    assert say(ledger, type="send", text="a") == []
    assert isinstance(ledger.commands[-1], Hand)
    assert say(ledger, type="stop", turn=TURNS[0])[0]["code"] == "overloaded"
    gateway = dialogue(principal=None)
    assert say(gateway, type="send", text="a")[0]["code"] == "forbidden"
    assert say(gateway, type="subscribe", conversation="conv_" + "2" * 32, turn=TURNS[0])[0]["code"] == "not_found"


def test_renewal_keeps_the_side() -> None:
    """A token of the same tenant and user renews; it may take conversations away; another tenant's is refused."""
    ledger = dialogue()
    say(ledger, type="authenticate", token="t")
    assert isinstance(ledger.commands[-1], Renew)
    kept, lost = subscribe(ledger).subscription, subscribe(ledger, "conv_" + "2" * 32).subscription
    narrow = Principal(tenant="acme", key_id="k2", tier="standard", scopes=(), conversations=(CONVERSATION,))
    ledger.renewed(Access(principal=narrow, expires_at_ms=5), "r")
    assert (kept.is_over, lost.is_over) == (False, True)
    assert ledger.access == Access(principal=narrow, expires_at_ms=5)
    ledger.outbox.clear()
    ledger.renewed(Access(principal=Principal(tenant="x", key_id="k", tier="t", scopes=())), "r")
    assert frames(ledger.outbox.take())[0]["code"] == "forbidden"


def test_a_moved_log_ends_a_client_and_not_a_gateway() -> None:
    """A client is closed with 4002 behind the event; a gateway's one subscription ends, its others go on."""
    ledger, gateway = dialogue(), dialogue(principal=None)
    for each in (ledger, gateway):
        subscription = subscribe(each, ref=1).subscription
        subscription.located(-1, ConversationFold(), write)
        subscription.caught_up(-1)
        subscription.offer(event(moved(5)))
    assert ledger.closing is not None
    assert ledger.closing.code == CloseCode.LOG_MOVED
    assert [frame["type"] for frame in frames(ledger.outbox.take())] == ["event"]
    assert gateway.closing is None
    assert [frame["type"] for frame in frames(gateway.outbox.take())] == ["event", "unsubscribed"]


def test_a_lost_log_ends_a_client_and_not_a_gateway() -> None:
    """A client comes back with its position; a gateway is told which of its subscriptions to make again."""
    ledger, gateway = dialogue(), dialogue(principal=None)
    ledger.log_lost(subscribe(ledger).subscription)
    assert ledger.closing is not None
    assert ledger.closing.code == CloseCode.GOING_AWAY
    gateway.log_lost(subscribe(gateway, ref=3).subscription)
    assert gateway.closing is None
    assert frames(gateway.outbox.take())[0]["code"] == "unavailable"


def test_a_turns_end_ends_its_subscription() -> None:
    """A gateway's reader of a turn is forgotten behind the turn's end."""
    gateway = dialogue(principal=None)
    subscription = subscribe(gateway, ref=1, turn=TURNS[0]).subscription
    gateway.deliver(subscription, event(ended(TURNS[0], 1, 0)))
    assert subscription.is_over
    assert gateway.subscriptions == {}


def test_a_slow_reader_is_closed_without_what_waits() -> None:
    """Over the hard limit the outbox is dropped and 4001 is due; more events change nothing."""
    ledger = dialogue(outbox_bytes=500)
    subscription = subscribe(ledger).subscription
    ledger.outbox.is_backed_up = True
    ledger.deliver(subscription, event(delta(TURNS[0], 1, 0, "x" * 600)))
    ledger.check()
    assert ledger.closing is not None
    assert ledger.closing.code == CloseCode.TOO_SLOW
    assert not ledger.outbox
    ledger.deliver(subscription, event(delta(TURNS[0], 1, 1)))
    assert not ledger.outbox
    assert subscription.is_over


def test_a_ledger_asks_to_be_sent_once() -> None:
    """However much it has to send, it stands once in the node's list."""
    touched: list[Dialogue] = []
    ledger = Dialogue(Bounds(), touched)
    ledger.admitted(Access(principal=SOMEBODY), NOW_MS)
    for _ in range(3):
        ledger.alive(NOW_MS)
    assert touched == [ledger]


def test_a_refused_subscription_is_forgotten() -> None:
    """A subscribe that can't be done is answered once; a late failure of one that is over isn't."""
    ledger = dialogue()
    subscription = subscribe(ledger, ref="r").subscription
    ledger.refused(subscription, ErrorCode.NOT_FOUND, "no such conversation")
    ledger.refused(subscription, ErrorCode.NOT_FOUND, "no such conversation")
    [answer] = frames(ledger.outbox.take())
    assert (answer["type"], answer["ref"]) == ("error", "r")
    assert ConversationId(CONVERSATION) not in ledger.subscriptions
