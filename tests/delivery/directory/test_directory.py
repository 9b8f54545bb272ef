"""What is known of conversations is what their newest record says."""

from dataclasses import replace

from delivery.directory.directory import Directory
from schemas.records import ConversationChanged
from tests.support import samples
from tests.support.samples import CONVERSATION


def test_the_newest_record_counts() -> None:
    """A conversation is found with its owner; a deleted one isn't, but is remembered; a forgotten one is new."""
    directory = Directory()
    assert not directory.has_met(CONVERSATION)
    changed: ConversationChanged = replace(samples.sample(ConversationChanged), retired=False, deleted=False)
    directory.put(changed)
    known = directory.find(CONVERSATION)
    assert known is not None
    assert (known.tenant, known.user, known.retired) == (changed.tenant, changed.user, False)
    directory.put(replace(changed, retired=True))
    retired = directory.find(CONVERSATION)
    assert retired is not None
    assert retired.retired
    directory.put(changed)
    assert directory.find(CONVERSATION) == retired
    directory.put(replace(changed, deleted=True))
    assert directory.find(CONVERSATION) is None
    assert directory.has_met(CONVERSATION)
    directory.drop(CONVERSATION)
    assert not directory.has_met(CONVERSATION)
    assert len(directory) == 0
