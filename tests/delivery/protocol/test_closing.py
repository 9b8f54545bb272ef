"""Every cause has the code that tells a client what to do."""

from delivery.protocol.closing import CODES, Cause, retry_reason


def test_each_cause_has_a_code() -> None:
    """No cause is without a code, and those that a client can't mend keep it away."""
    assert set(CODES) == set(Cause)
    away = {cause for cause, code in CODES.items() if code >= 4500}
    assert away == {Cause.BAD_FRAME, Cause.UNAUTHENTICATED, Cause.FORBIDDEN}


def test_the_reason_names_the_wait() -> None:
    """The contract's form: `retry_ms=N`."""
    assert retry_reason(250) == "retry_ms=250"
