import pytest
from aiohttp.test_utils import make_mocked_request

from producers.ingress import errors
from producers.relay.port import DeliveryUnavailable
from schemas import codec
from schemas.errors import ERRORS, ErrorCode, KafkaUnavailable, NotFound, UnsupportedValue
from schemas.turns import Failure, Reason


def test_the_body_is_openais() -> None:
    """An error tells message, type, parameter and code."""
    answer = errors.answer(UnsupportedValue("no", param="n"), make_mocked_request("POST", "/"))
    assert answer.status == 400
    assert codec.parse(answer.body) == {  # type: ignore[arg-type]
        "error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "unsupported_value"}
    }
    assert "x-should-retry" not in errors.answer(NotFound("no"), make_mocked_request("GET", "/")).headers


@pytest.mark.parametrize(("was_sent", "again"), [(False, "true"), (True, "false")])
def test_only_what_was_not_sent_is_asked_for_again(was_sent: bool, again: str) -> None:
    """A client that repeats by itself is told not to, once a turn may have been accepted."""
    request = make_mocked_request("POST", "/")
    request[errors.SENT] = was_sent
    answer = errors.answer(KafkaUnavailable("away"), request)
    assert (answer.status, answer.headers["x-should-retry"], answer.headers["Retry-After"]) == (503, again, "1")


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [
        (Reason.EXPIRED, None, 503),
        (Reason.FAILED, None, 500),
        (Reason.FAILED, ErrorCode.ENGINE_FAILED, 500),
        (Reason.FAILED, ErrorCode.CONTEXT_TOO_LARGE, 400),
        (Reason.FAILED, ErrorCode.CONVERSATION_BUSY, 409),
        (Reason.FAILED, ErrorCode.POLICY, 500),
    ],
)
def test_failed_turns_have_a_status(reason: Reason, code: ErrorCode | None, status: int) -> None:
    """An expired turn is 503, a failed one 500 or what its code says; none is repeated unasked."""
    failure = None if code is None else Failure(code, "why", ERRORS[code].retriable)
    answer = errors.failed_turn(reason, failure, make_mocked_request("POST", "/"))
    assert answer.status == status
    assert answer.headers.get("x-should-retry", "false") == "false"


@pytest.mark.parametrize(("wait_s", "told"), [(None, "1"), (0.2, "1"), (7.2, "8"), (1e9, "600")])
def test_every_503_says_when(wait_s: float | None, told: str) -> None:
    """When to come back stands on every 503, out of what the turn was told; x-should-retry is another question."""
    expired = errors.failed_turn(Reason.EXPIRED, None, make_mocked_request("POST", "/"), wait_s)
    assert (expired.status, expired.headers["Retry-After"], expired.headers["x-should-retry"]) == (503, told, "false")
    away = errors.answer(DeliveryUnavailable("away", wait_s), make_mocked_request("POST", "/"))
    assert (away.status, away.headers["Retry-After"]) == (503, told)


def test_our_own_faults_tell_nothing() -> None:
    """A fault of ours is 500 without details."""
    assert errors.internal(make_mocked_request("GET", "/")).status == 500
