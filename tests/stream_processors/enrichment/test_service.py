"""The gate on real Kafka: what readers, workers and the store see of it."""

from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import codec, topics
from schemas.errors import ErrorCode
from schemas.fold import ConversationFold
from schemas.records import (
    ContextLoaded,
    ConversationChanged,
    ConversationDeleted,
    ConversationReset,
    DeadLettered,
    TurnAccepted,
    TurnAllowed,
    TurnCompleted,
    TurnDispatched,
    TurnEnded,
    TurnQueued,
    TurnRefused,
    TurnStopRequested,
)
from schemas.turns import Action, ContextTurn, Message, OnBusy, Reason, Role, Stage, Verdict
from tests.stream_processors.enrichment.world import POOL, World, allowed, new_conversation, new_turn, now

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _prompts(world: World, turn: str) -> list[tuple[str, str]]:
    [sent, *_] = world.seen[f"inference.{POOL}"].of(TurnDispatched, turn)
    return [(message.role.value, message.text) for message in sent.messages]


async def test_a_conversation_has_its_context(standing: World) -> None:
    """Each turn's prompt is instructions, the chain of its parents and its text; a parent may be named."""
    conversation = new_conversation()
    world = standing
    asked = [allowed(conversation, f"t{number}", new=number == 0) for number in range(3)]
    for each in asked:
        await world.ask(each)
        assert each.turn is not None
        await world.completed(each.turn)
    again = allowed(conversation, "t1 anew", new=False, parent=asked[0].turn)
    await world.ask(again)
    ended = await world.completed(again.turn)
    assert _prompts(world, asked[2].turn or "") == [
        ("system", "Be brief."), ("user", "t0"), ("assistant", "re: t0"), ("user", "t1"), ("assistant", "re: t1"),
        ("user", "t2"),
    ]  # fmt: skip
    assert _prompts(world, again.turn or "")[1:] == [("user", "t0"), ("assistant", "re: t0"), ("user", "t1 anew")]
    assert (ended.n, ended.parent) == (4, asked[0].turn)
    sent = world.seen[f"inference.{POOL}"].of(TurnDispatched, asked[1].turn)[0]
    assert sent.options.max_tokens == 4096 - sent.prompt_tokens
    assert sent.priority == 1
    # Its predecessor ended less than 5 s ago: it begins where that one does (`ordering.remember_end`).
    assert sent.place is None


async def test_one_turn_at_a_time(standing: World) -> None:
    """While a turn runs the others wait in order, say so, and one that doesn't want to wait ends as busy."""
    conversation = new_conversation()
    world = standing
    world.answering.clear()
    asked = [allowed(conversation, f"t{number}", new=number == 0) for number in range(3)]
    rejected = allowed(conversation, "no", new=False, on_busy=OnBusy.REJECT)
    for each in (*asked, rejected):
        await world.ask(each)
    busy = await world.completed(rejected.turn)
    await world.until(topics.LANES, lambda seen: len(seen.of(TurnQueued, conversation)) >= 2)
    assert len(world.seen[f"inference.{POOL}"].of(TurnDispatched, conversation)) == 1
    world.answering.set()
    for each in asked:
        await world.completed(each.turn)
    assert (busy.reason, busy.detail.error and busy.detail.error.code) == (Reason.FAILED, ErrorCode.CONVERSATION_BUSY)
    order = [sent.turn for sent in world.seen[f"inference.{POOL}"].of(TurnDispatched, conversation)]
    assert order == [each.turn for each in asked]
    queued = world.seen[topics.LANES].of(TurnQueued, conversation)
    assert [(each.turn, each.ahead) for each in queued][:2] == [(asked[1].turn, 1), (asked[2].turn, 2)]


async def test_interrupt_stops_what_runs(standing: World) -> None:
    """An interrupting turn has the active one stopped by name and starts when it has ended."""
    conversation = new_conversation()
    world = standing
    world.answering.clear()
    first, second = allowed(conversation, "t0"), allowed(conversation, "t1", new=False, on_busy=OnBusy.INTERRUPT)
    await world.ask(first)
    await world.until(f"inference.{POOL}", lambda seen: bool(seen.of(TurnDispatched, conversation)))
    await world.ask(second)
    await world.until(topics.CONTROL, lambda seen: bool(seen.of(TurnStopRequested, first.turn)))
    world.answering.set()
    await world.completed(second.turn)


async def test_refused_turns_cost_nothing(standing: World) -> None:
    """A refused turn is accepted, ends with the policy's sentence under attempt 0, and is never dispatched."""
    conversation = new_conversation()
    one = allowed(conversation, "bad words")
    verdict = Verdict(stage=Stage.INPUT, action=Action.REFUSE, policy="p", policy_version=1, rule="r", sentence="No.")
    refused = TurnRefused(**{
        name: getattr(one, name) for name in ("id", "at", "tenant", "conversation", "turn", "request")
    }, verdict=verdict)  # fmt: skip
    world = standing
    await world.ask(refused)
    ended = await world.completed(one.turn)
    after = allowed(conversation, "better", new=False)
    await world.ask(after)
    await world.completed(after.turn)
    assert (ended.reason, ended.detail.refusal, ended.attempts) == (Reason.REFUSED, "No.", 0)
    assert ended.interventions == (verdict,)
    assert not world.seen[f"inference.{POOL}"].of(TurnDispatched, one.turn)
    assert _prompts(world, after.turn or "") == [("system", "Be brief."), ("user", "better")]


async def test_a_turn_s_trace_goes_along(standing: World) -> None:
    """What the gate writes of a turn bears the request's traceparent: in the log, to the worker, at the end."""
    conversation = new_conversation()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    one = allowed(conversation, "go", traceparent=trace)
    await standing.ask(one)
    await standing.completed(one.turn)
    two = allowed(conversation, "no", new=False, traceparent=trace)
    verdict = Verdict(stage=Stage.INPUT, action=Action.REFUSE)
    values = {name: getattr(two, name) for name in ("id", "at", "tenant", "conversation", "turn", "request")}
    await standing.ask(TurnRefused(**values, verdict=verdict))
    await standing.completed(two.turn)
    found = await _headers(standing, topics.TURNS, topics.LANES, f"inference.{POOL}")
    ours = [named for named in found if named["ce_source"] == b"/parley/enrichment"]
    assert {named["ce_type"].decode() for named in ours} >= {
        "parley.turn.accepted", "parley.TurnDispatched", "parley.turn.ended", "parley.TurnCompleted",
    }  # fmt: skip
    assert {named.get("traceparent") for named in ours if named["ce_subject"] in _subjects(one, two)} == {
        trace.encode()
    }


def _subjects(*asked: TurnAllowed) -> set[bytes]:
    return {(each.turn or "").encode() for each in asked}


async def _headers(world: World, *names: str) -> list[dict[str, bytes]]:
    """The headers of every record on these topics, as a foreign reader sees them."""
    consumer = AIOKafkaConsumer(bootstrap_servers=world.kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[dict[str, bytes]] = []
    try:
        places = [
            TopicPartition(world.kafka.named(name), partition)
            for name in names
            for partition in await world.appender.partitions(name)
        ]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [dict(record.headers) for record in records]
    finally:
        await consumer.stop()
    return found


async def test_stops_reach_waiting_and_unknown_turns(standing: World) -> None:
    """A stop ends a waiting turn and one that hasn't come; a stop of the conversation names the active turn."""
    conversation, unborn = new_conversation(), new_conversation()
    world = standing
    world.answering.clear()
    first, second = allowed(conversation, "t0"), allowed(conversation, "t1", new=False)
    early = allowed(unborn, "t2")
    await world.ask(first)
    await world.ask(second)
    await world.appender.append(topics.CONTROL, _stop(unborn, early.turn))
    await world.appender.append(topics.CONTROL, _stop(conversation, second.turn))
    assert (await world.completed(second.turn)).reason is Reason.CANCELLED
    await world.ask(early)
    assert (await world.completed(early.turn)).reason is Reason.CANCELLED
    await world.appender.append(topics.CONTROL, _stop(conversation, None))
    await world.until(topics.CONTROL, lambda seen: bool(seen.of(TurnStopRequested, first.turn)))
    world.answering.set()
    await world.completed(first.turn)


async def test_reset_and_delete(standing: World) -> None:
    """After a reset nothing of before is read; after a delete nothing is left and late turns end as not found."""
    conversation = new_conversation()
    world = standing
    first = allowed(conversation, "t0")
    await world.ask(first)
    await world.completed(first.turn)
    common: dict[str, Any] = {"tenant": "acme", "conversation": conversation, "user": "u1", "log": first.request.log}
    await world.ask(ConversationReset(id="r1", at=now(), **common))
    second = allowed(conversation, "t1", new=False)
    await world.ask(second)
    assert (await world.completed(second.turn)).parent is None
    await world.ask(ConversationDeleted(id="d1", at=now(), **common))
    await world.until(topics.TURNS, lambda seen: bool(seen.of(ConversationDeleted, conversation)))
    await world.until(
        topics.CONVERSATIONS, lambda seen: any(each.deleted for each in seen.of(ConversationChanged, conversation))
    )
    late = allowed(conversation, "t2", new=False)
    await world.ask(late)
    ended = await world.completed(late.turn)
    assert [each.epoch for each in world.seen[topics.TURNS].of(ConversationReset, conversation)] == [1]
    assert _prompts(world, second.turn or "")[1:] == [("user", "t1")]
    assert ended.detail.error is not None
    assert ended.detail.error.code is ErrorCode.NOT_FOUND


async def test_unstored_turns_leave_no_text(standing: World) -> None:
    """A call that isn't stored takes the same path, with the client's own history, and leaves no text for analysts."""
    conversation = new_conversation()
    history = (Message(Role.USER, "h1"), Message(Role.ASSISTANT, "h2"))
    one = allowed(conversation, "q", stored=False, history=history)
    world = standing
    await world.ask(one)
    ended = await world.completed(one.turn)
    assert (ended.input_text, ended.output_text) == (None, None)
    assert _prompts(world, one.turn or "")[1:] == [("user", "h1"), ("assistant", "h2"), ("user", "q")]


async def test_without_a_worker_turns_expire_through_closing(standing: World) -> None:
    """A turn whose pool has no worker is dispatched there, and ends as expired through `closing` at its deadline."""
    conversation = new_conversation()
    world = standing
    world.dead_pools.add(POOL)
    one = allowed(conversation, "t0", deadline_s=7)
    two = allowed(conversation, "t1", new=False, deadline_s=7)
    await world.ask(one)
    await world.ask(two)
    await world.until(f"inference.{topics.CLOSING_POOL}", lambda seen: bool(seen.of(TurnDispatched, conversation)))
    ends = [await world.completed(each.turn) for each in (one, two)]
    world.dead_pools.clear()
    await world.report()
    assert [end.reason for end in ends] == [Reason.EXPIRED, Reason.EXPIRED]
    [closing] = world.seen[f"inference.{topics.CLOSING_POOL}"].of(TurnDispatched, conversation)
    assert (closing.turn, closing.dispatch, closing.reason) == (one.turn, 2, Reason.EXPIRED)


async def test_forgotten_conversations_wait_for_their_past(standing: World) -> None:
    """A turn of an unknown conversation waits for ContextLoaded, while others go on; then it has its context."""
    conversation, other = new_conversation(), new_conversation()
    past = new_turn(conversation)
    world = standing
    one = allowed(conversation, "t9", new=False)
    await world.ask(one)
    beside = allowed(other, "t0")
    await world.ask(beside)
    await world.completed(beside.turn)
    assert not world.seen[topics.LANES].of(TurnAccepted, one.turn)
    texts = (Message(Role.USER, "old"), Message(Role.ASSISTANT, "re: old"))
    kept = ContextTurn(turn=past, n=8, parent=None, epoch=2, reason=Reason.STOP, texts=texts, log_start=None, log_end=0)
    loaded = ContextLoaded(
        id="l", at=now(), tenant="acme", conversation=conversation, found=True, next_n=9, epoch=2, turns=(kept,)
    )
    await world.appender.append(topics.CONTROL, loaded)
    ended = await world.completed(one.turn)
    assert (ended.n, ended.parent, ended.detail.epoch) == (9, past, 2)
    assert _prompts(world, one.turn or "")[1:] == [("user", "old"), ("assistant", "re: old"), ("user", "t9")]


async def test_what_does_not_fit_ends_visibly(standing: World) -> None:
    """Too large a message ends as context_too_large, an unknown model as invalid_request; both are accepted turns."""
    world = standing
    large = allowed(new_conversation(), "word " * 5000)
    stranger = allowed(new_conversation(), "hi", model="gpt-99")
    await world.ask(large)
    await world.ask(stranger)
    ends = [await world.completed(each.turn) for each in (large, stranger)]
    codes = [end.detail.error.code for end in ends if end.detail.error is not None]
    assert codes == [ErrorCode.CONTEXT_TOO_LARGE, ErrorCode.INVALID_REQUEST]


async def test_unreadable_records_become_dead_letters(standing: World) -> None:
    """Bytes that are no record lie in `dead.letters` with their place; what comes behind them goes on."""
    conversation = new_conversation()
    world = standing
    await world.appender.append_bytes(topics.MODERATED, b'{"type": "TurnAllowed"', key=conversation.encode())
    one = allowed(conversation, "t0")
    offset = await world.ask(one)
    await world.completed(one.turn)
    [letter] = (await world.until(topics.DEAD_LETTERS, lambda seen: bool(seen.records))).of(DeadLettered)
    assert letter.source.offset == offset - 1
    assert letter.role == "enrichment"


async def test_a_broken_request_ends_where_its_readers_see_it(standing: World) -> None:
    """A request that breaks the contract, but names its turn and log, is a dead letter and a failed turn."""
    world = standing
    one = allowed(new_conversation(), "hi")
    broken = codec.encode(one).replace(b'"tier":"standard"', b'"tier":7')
    await world.appender.append_bytes(topics.MODERATED, broken, key=str(one.conversation).encode())
    ended = await world.completed(one.turn)
    assert ended.detail.error is not None
    assert (ended.reason, ended.detail.error.code) == (Reason.FAILED, ErrorCode.INVALID_REQUEST)


async def test_repeated_requests_start_nothing(standing: World) -> None:
    """A request that comes again, in the middle or behind the end, gives no second number and no second end."""
    conversation = new_conversation()
    world = standing
    one = allowed(conversation, "t0")
    await world.ask(one)
    await world.ask(replace(one))
    await world.completed(one.turn)
    await world.ask(replace(one))
    two = allowed(conversation, "t1", new=False)
    await world.ask(two)
    await world.completed(two.turn)
    sent = world.seen[f"inference.{POOL}"].of(TurnDispatched, one.turn)
    assert {each.dispatch for each in sent} == {1}
    fold, taken = ConversationFold(), []
    for _, _, record in sorted(world.seen[topics.LANES].records, key=lambda row: row[1]):
        if record.conversation == conversation and fold.take(record) and isinstance(record, TurnAccepted | TurnEnded):
            taken.append((record.type, record.turn))
    assert taken == [
        ("turn.accepted", one.turn), ("turn.ended", one.turn), ("turn.accepted", two.turn), ("turn.ended", two.turn),
    ]  # fmt: skip
    assert len({each.id for each in world.seen[topics.TURNS].of(TurnCompleted, conversation)}) == 2


def _stop(conversation: Any, turn: Any) -> TurnStopRequested:
    return TurnStopRequested(id=f"stop.{turn}", at=now(), tenant="acme", conversation=conversation, turn=turn)
