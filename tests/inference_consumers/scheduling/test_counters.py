"""Virtual token counters."""

import pytest

from inference_consumers.scheduling.counters import TokenCounters


def test_a_generated_token_weighs_two_prompt_tokens() -> None:
    """Service is 1 a prompt token and 2 a generated one, divided by the weight."""
    counters = TokenCounters()
    counters.charge("a", 1.0, prompt_tokens=10, generated_tokens=5)
    counters.charge("b", 2.0, prompt_tokens=10, generated_tokens=5)
    assert counters.service("a") == 20
    assert counters.service("b") == 10


def test_a_returning_tenant_is_lifted_to_the_least_active_one() -> None:
    """Idling saves nothing up: who comes back stands where the least served of the others stands."""
    counters = TokenCounters()
    counters.charge("a", 1.0, prompt_tokens=100)
    counters.charge("b", 1.0, prompt_tokens=70)
    counters.enter("late", ["a", "b"])
    assert counters.service("late") == 70


def test_a_tenant_ahead_of_the_others_stays_there() -> None:
    """Leaving and coming back wipes nothing out."""
    counters = TokenCounters()
    counters.charge("a", 1.0, prompt_tokens=100)
    counters.charge("b", 1.0, prompt_tokens=10)
    counters.enter("a", ["b"])
    assert counters.service("a") == 100


def test_after_silence_all_begin_where_the_last_one_left() -> None:
    """With nobody active the level is that of the last tenant that left."""
    counters = TokenCounters()
    counters.charge("a", 1.0, prompt_tokens=50)
    counters.leave("a", [])
    counters.enter("b", [])
    counters.enter("a", ["b"])
    assert counters.service("b") == counters.service("a") == 50


def test_what_was_charged_too_much_is_given_back() -> None:
    """A negative charge corrects an estimate."""
    counters = TokenCounters()
    counters.charge("a", 1.0, prompt_tokens=100)
    counters.charge("a", 1.0, prompt_tokens=-40)
    assert counters.service("a") == pytest.approx(60)


def test_forgotten_tenants_come_back_level() -> None:
    """Only counters that entering would lift anyway are dropped."""
    counters = TokenCounters()
    counters.charge("low", 1.0, prompt_tokens=1)
    counters.charge("high", 1.0, prompt_tokens=100)
    counters.charge("active", 1.0, prompt_tokens=50)
    counters.forget(["active"])
    counters.enter("low", ["active"])
    assert counters.service("low") == 50
    assert counters.service("high") == 100
