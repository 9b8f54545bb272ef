"""Policies in force, followed by running screens."""

from inference_consumers.control.policies import PoliciesInForce
from infra.runtime.kafka_log import Entry
from schemas import codec
from schemas.records import PolicyPublished
from tests.support.samples import AT


def _published(version: int, text: str, **more: object) -> Entry:
    rule = {"rule": "r", "texts": [text]} | more
    record = PolicyPublished(id="p", at=AT, policy="p", policy_version=version, rules=(rule,), sentence="No.")
    return Entry(version, 0, b"p", codec.encode(record))


def test_nothing_in_force_lets_all_pass() -> None:
    """Before any policy an answer is released as it comes."""
    screen = PoliciesInForce().screen("acme", "standard", "")
    assert screen.feed("anything at all").released == "anything at all"


def test_a_new_version_judges_running_answers() -> None:
    """A screen made before the policy came stops what it forbids from then on."""
    policies = PoliciesInForce()
    screen = policies.screen("acme", "standard", "")
    assert screen.feed("a secret, ").verdict is None
    policies.on_entry(0, _published(1, "secret"))
    assert policies.version_of("p") == 1
    verdict = screen.feed("another secret. ").verdict
    assert verdict is not None
    assert verdict.policy_version == 1


def test_a_tombstone_takes_a_policy_out_of_force() -> None:
    """A deleted policy judges nothing any more."""
    policies = PoliciesInForce()
    policies.on_entry(0, _published(1, "secret"))
    policies.on_entry(0, Entry(2, 0, b"p", None))
    assert policies.version_of("p") == 0
    assert policies.screen("acme", "standard", "").feed("a secret. ").verdict is None


def test_the_last_good_version_stays() -> None:
    """Broken bytes, broken rules and foreign records change nothing."""
    policies = PoliciesInForce()
    policies.on_entry(0, _published(1, "secret"))
    policies.on_entry(0, Entry(2, 0, b"p", b"{"))
    policies.on_entry(0, Entry(3, 0, b"p", b'{"type":"Stranger","version":1}'))
    policies.on_entry(0, _published(4, "(", kind="pattern"))
    policies.on_entry(0, Entry(5, 0, None, b"{}"))
    assert policies.version_of("p") == 1


def test_a_successors_screen_stands_behind_the_released_text() -> None:
    """A match that began in released text is completed by what follows."""
    policies = PoliciesInForce()
    policies.on_entry(0, _published(1, "top secret"))
    assert policies.screen("acme", "standard", "a top ").feed("secret. ").verdict is not None
