import dataclasses
import uuid
from collections.abc import AsyncIterator
from functools import partial
from itertools import permutations
from typing import Any

import pytest

from infra.migrations.runner import migrate
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.turn_store import TurnStore
from schemas import ids, instants
from schemas.ids import ConversationId, TurnId
from schemas.records import ConversationChanged, TurnCompleted
from schemas.turns import Reason
from tests.support.samples import sample

BEGAN_MS = instants.to_ms("2026-01-31T12:00:00.000Z")


@pytest.fixture
async def store(cassandra: tuple[str, int], keyspace: str) -> AsyncIterator[Store]:
    host, port = cassandra
    store = Store(CassandraSettings(contact_points=(host,), port=port, keyspace=keyspace))
    await store.connected()
    await migrate(store)
    yield store
    await store.execute_plain(f"DROP KEYSPACE {keyspace}")
    await store.stop()


@pytest.fixture
def turns(store: Store) -> TurnStore:
    return TurnStore(store)


def new_conversation() -> ConversationId:
    return ids.conversation_id(uuid.uuid4().hex)


def turn_id(conversation: ConversationId, n: int) -> TurnId:
    return ids.turn_id(conversation, f"{n:032x}")


def a_turn(conversation: ConversationId, n: int, **changes: Any) -> TurnCompleted:
    at = instants.from_ms(BEGAN_MS + n)
    values: dict[str, Any] = {
        "conversation": conversation,
        "turn": turn_id(conversation, n),
        "n": n,
        "at": at,
        "ended_at": at,
    }
    full: TurnCompleted = sample(TurnCompleted)
    return dataclasses.replace(full, **(values | changes))


def changed(conversation: ConversationId, **changes: Any) -> ConversationChanged:
    values: dict[str, Any] = {"conversation": conversation, "deleted": False, "retired": False}
    full: ConversationChanged = sample(ConversationChanged)
    return dataclasses.replace(full, **(values | changes))


async def test_reads_back_what_was_saved(turns: TurnStore) -> None:
    """A turn comes out of its row as the very value that went in, empty columns included."""
    conversation = new_conversation()
    full = a_turn(conversation, 1)
    bare = a_turn(
        conversation,
        2,
        pool=None,
        deployment=None,
        model=None,
        model_version=None,
        started_at=None,
        first_token_at=None,
        parent=None,
        log_start=None,
        interventions=(),
        reason=Reason.EXPIRED,
        output_text="",
    )
    await turns.save_turn(full)
    await turns.save_turn(bare)
    assert await turns.turn(full.turn or TurnId("")) == full
    assert await turns.turn(bare.turn or TurnId("")) == bare


async def test_pages_in_both_directions(turns: TurnStore) -> None:
    """Turns are read from either end, bounded by a place, never more than asked for."""
    conversation = new_conversation()
    for n in (3, 1, 4, 2):
        await turns.save_turn(a_turn(conversation, n))
    assert [turn.n for turn in await turns.newest(conversation, 2)] == [4, 3]
    assert [turn.n for turn in await turns.newest(conversation, 9, before_n=3)] == [2, 1]
    assert [turn.n for turn in await turns.oldest(conversation, 2)] == [1, 2]
    assert [turn.n for turn in await turns.oldest(conversation, 9, after_n=2)] == [3, 4]
    assert await turns.newest(new_conversation(), 9) == ()


async def test_knows_nothing_of_strangers(turns: TurnStore) -> None:
    """What was never saved is None, not an error."""
    stranger = new_conversation()
    assert await turns.turn(turn_id(stranger, 1)) is None
    assert await turns.conversation(stranger) is None
    assert await turns.activity("acme", "nobody") == {}


async def test_keeps_no_unstored_turn(turns: TurnStore) -> None:
    """A turn that isn't to be stored leaves no trace."""
    conversation = new_conversation()
    await turns.save_turn(a_turn(conversation, 1, stored=False, input_text=None, output_text=None))
    assert await turns.turn(turn_id(conversation, 1)) is None
    assert await turns.conversation(conversation) is None


async def test_a_conversation_is_pieced_together(turns: TurnStore) -> None:
    """Its own record, its turns and its resets each add their part, whichever comes first."""
    conversation = new_conversation()
    for n in (2, 1):
        await turns.save_turn(a_turn(conversation, n, user="ann"))
    await turns.reset_conversation(conversation, 2)
    await turns.reset_conversation(conversation, 1)
    await turns.save_conversation(changed(conversation, user="ann", metadata={"k": "v"}))
    found = await turns.conversation(conversation)
    assert found is not None
    assert (found.tenant, found.user, found.metadata) == ("acme", "ann", {"k": "v"})
    assert (found.epoch, found.next_n, found.deleted) == (2, 3, False)
    assert found.active_at == instants.from_ms(BEGAN_MS + 2)
    assert await turns.activity("acme", "ann") == {conversation: instants.from_ms(BEGAN_MS + 2)}


async def test_the_newest_record_of_a_conversation_holds(turns: TurnStore) -> None:
    """An older record that arrives late changes nothing."""
    conversation = new_conversation()
    await turns.save_conversation(changed(conversation, at="2026-02-01T00:00:00.000Z", retired=True, metadata={}))
    await turns.save_conversation(changed(conversation, at="2026-01-01T00:00:00.000Z", metadata={"old": "1"}))
    found = await turns.conversation(conversation)
    assert found is not None
    assert (found.retired, found.metadata) == (True, {})


async def test_nothing_outlives_a_delete(turns: TurnStore) -> None:
    """Whatever order turn, conversation, reset and delete are written in, and written again, only the mark is left."""
    # Each order has a user of its own, as activity is asked for by user.
    for user, order in ((f"user {number}", order) for number, order in enumerate(permutations(range(4)))):
        conversation = new_conversation()
        # Later than the delete by its own clock: a turn may end behind it.
        late = a_turn(conversation, 1, at="2030-01-01T00:00:00.000Z", user=user)
        writes = (
            partial(turns.save_turn, late),
            partial(turns.save_conversation, changed(conversation, user=user)),
            partial(turns.reset_conversation, conversation, 3),
            partial(turns.delete_conversation, conversation, tenant="acme", user=user),
        )
        for place in (*order, 0, 1, 2):
            await writes[place]()
        found = await turns.conversation(conversation)
        assert found is not None
        assert (found.deleted, found.tenant, found.user, found.epoch, found.next_n) == (True, None, None, 0, 1)
        assert await turns.turn(turn_id(conversation, 1)) is None
        assert await turns.newest(conversation, 9) == ()
        assert await turns.activity("acme", user) == {}


async def test_a_deleted_record_deletes(turns: TurnStore) -> None:
    """A conversation's own record that says deleted does what a delete does."""
    conversation = new_conversation()
    await turns.save_turn(a_turn(conversation, 1))
    await turns.save_conversation(changed(conversation, deleted=True))
    found = await turns.conversation(conversation)
    assert found is not None
    assert found.deleted
    assert await turns.newest(conversation, 9) == ()


async def test_a_ticket_opens_once(turns: TurnStore) -> None:
    """A ticket is redeemed by the first who asks, and by nobody else."""
    assert await turns.redeem_ticket("t1", 60)
    assert not await turns.redeem_ticket("t1", 60)
    assert await turns.redeem_ticket("t2", 60)
