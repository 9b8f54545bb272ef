"""The index of a dispatch."""

from dataclasses import replace

import pytest

from inference_consumers.scheduling.entry import Entry
from schemas.errors import ContractError
from schemas.records import TurnDispatched
from schemas.turns import Source
from tests.support.samples import CONVERSATION, TURN, sample

SOURCE = Source("inference.default", 0, 1)


def test_an_entry_holds_no_text() -> None:
    """What is kept of a waiting turn names who, when and how much; no prompt."""
    dispatched: TurnDispatched = sample(TurnDispatched)
    entry = Entry.of(dispatched, SOURCE, TURN, CONVERSATION)
    assert entry.tenant == dispatched.tenant
    assert entry.cost_tokens == dispatched.prompt_tokens
    assert entry.deadline_ms == 1769860800123
    assert dispatched.input_text not in repr(entry)


def test_a_weight_that_is_none_counts_as_one() -> None:
    """A weight of nothing would make service infinite."""
    dispatched: TurnDispatched = sample(TurnDispatched)
    assert Entry.of(replace(dispatched, weight=0.0), SOURCE, TURN, CONVERSATION).weight == 1.0


def test_a_deadline_that_is_no_instant_is_refused() -> None:
    """A dispatch without a readable deadline breaks the contract."""
    dispatched: TurnDispatched = sample(TurnDispatched)
    with pytest.raises(ContractError):
        Entry.of(replace(dispatched, deadline_at="soon"), SOURCE, TURN, CONVERSATION)
