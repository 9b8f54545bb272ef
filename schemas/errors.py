"""The one tree of errors and the table of codes a user can see (contract, "HTTP").

ParleyError
|- CallerError       the caller changes the request: bad value, no right, too large
|- DependencyError   something we depend on is away: we retry with backoff
|- ContractError     bytes that break the contract: they go to `dead.letters`
`- InvariantBroken   a bug of ours: the process ends before it acknowledges anything
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final


class ErrorCode(StrEnum):
    """The codes of the contract: the same in HTTP, on WebSockets and in `turn.ended`."""

    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    UNSUPPORTED_VALUE = "unsupported_value"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    UNKNOWN_URL = "unknown_url"
    CONVERSATION_BUSY = "conversation_busy"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    TOO_LARGE = "too_large"
    CONTEXT_TOO_LARGE = "context_too_large"
    QUOTA_REQUESTS = "quota_requests"
    QUOTA_TOKENS = "quota_tokens"
    QUOTA_WAITING = "quota_waiting"
    QUOTA_BUDGET = "quota_budget"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    ENGINE_FAILED = "engine_failed"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """What a code means to a client.

    Args:
        status: HTTP status when the error is the whole answer.
        kind: OpenAI's `error.type`.
        retriable: True when the same request may succeed later, unchanged.
    """

    status: int
    kind: str
    retriable: bool


ERRORS: Final[dict[ErrorCode, ErrorRow]] = {
    ErrorCode.INVALID_REQUEST: ErrorRow(400, "invalid_request_error", False),
    ErrorCode.UNSUPPORTED_PARAMETER: ErrorRow(400, "invalid_request_error", False),
    ErrorCode.UNSUPPORTED_VALUE: ErrorRow(400, "invalid_request_error", False),
    ErrorCode.UNAUTHENTICATED: ErrorRow(401, "invalid_request_error", False),
    ErrorCode.FORBIDDEN: ErrorRow(403, "invalid_request_error", False),
    ErrorCode.NOT_FOUND: ErrorRow(404, "invalid_request_error", False),
    ErrorCode.UNKNOWN_URL: ErrorRow(404, "invalid_request_error", False),
    ErrorCode.CONVERSATION_BUSY: ErrorRow(409, "invalid_request_error", True),
    ErrorCode.IDEMPOTENCY_MISMATCH: ErrorRow(409, "invalid_request_error", False),
    ErrorCode.TOO_LARGE: ErrorRow(413, "invalid_request_error", False),
    ErrorCode.CONTEXT_TOO_LARGE: ErrorRow(400, "invalid_request_error", False),
    ErrorCode.QUOTA_REQUESTS: ErrorRow(429, "rate_limit_error", True),
    ErrorCode.QUOTA_TOKENS: ErrorRow(429, "rate_limit_error", True),
    ErrorCode.QUOTA_WAITING: ErrorRow(429, "rate_limit_error", True),
    ErrorCode.QUOTA_BUDGET: ErrorRow(429, "insufficient_quota", False),
    ErrorCode.OVERLOADED: ErrorRow(503, "server_error", True),
    ErrorCode.UNAVAILABLE: ErrorRow(503, "server_error", True),
    ErrorCode.DEADLINE: ErrorRow(503, "server_error", True),
    ErrorCode.ENGINE_FAILED: ErrorRow(500, "server_error", True),
    ErrorCode.POLICY: ErrorRow(200, "invalid_request_error", False),
}


class ParleyError(Exception):
    """Any error of ours. `str()` is one sentence that names the fault and what to do."""

    code: ClassVar[ErrorCode] = ErrorCode.UNAVAILABLE

    @property
    def row(self) -> ErrorRow:
        """The table row of this error's code."""
        return ERRORS[self.code]


class CallerError(ParleyError):
    """The caller must change the request.

    Args:
        message: what is wrong and what to do.
        param: the request's parameter at fault, None when no single one is.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_REQUEST

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedParameter(CallerError):
    """A parameter that would change the answer and isn't served."""

    code = ErrorCode.UNSUPPORTED_PARAMETER


class UnsupportedValue(CallerError):
    """A served parameter at a value that isn't served."""

    code = ErrorCode.UNSUPPORTED_VALUE


class Unauthenticated(CallerError):
    """No key, a key nobody knows, or one that was revoked."""

    code = ErrorCode.UNAUTHENTICATED


class Forbidden(CallerError):
    """The key is good, the right is missing."""

    code = ErrorCode.FORBIDDEN


class NotFound(CallerError):
    """There is no such thing, or it belongs to somebody else: the two look alike on purpose."""

    code = ErrorCode.NOT_FOUND


class UnknownUrl(CallerError):
    """No such path or method."""

    code = ErrorCode.UNKNOWN_URL


class ConversationBusy(CallerError):
    """The conversation has an active turn and was asked to reject a second one."""

    code = ErrorCode.CONVERSATION_BUSY


class IdempotencyMismatch(CallerError):
    """The idempotency key was used with another body."""

    code = ErrorCode.IDEMPOTENCY_MISMATCH


class TooLarge(CallerError):
    """A body or a message over its limit."""

    code = ErrorCode.TOO_LARGE


class ContextTooLarge(CallerError):
    """Instructions and message alone exceed what the model can read."""

    code = ErrorCode.CONTEXT_TOO_LARGE


class SettingsError(CallerError):
    """A setting or an argument is wrong: named in one line, exit 2."""


class DependencyError(ParleyError):
    """Something we depend on did not do its part; the same call may succeed later."""

    code: ClassVar[ErrorCode] = ErrorCode.UNAVAILABLE


class KafkaUnavailable(DependencyError):
    """The brokers did not answer in time or refused for the moment."""


class CassandraUnavailable(DependencyError):
    """The store did not answer in time or refused for the moment."""


class Overloaded(DependencyError):
    """A bound is reached: come back later."""

    code = ErrorCode.OVERLOADED


class EngineFailed(DependencyError):
    """The engine could not finish this one generation."""

    code = ErrorCode.ENGINE_FAILED


class EngineDead(EngineFailed):
    """The engine is gone as a whole: the worker leaves without committing."""


class ContractError(ParleyError):
    """Bytes that are not what the contract says they are.

    Args:
        message: what was expected and found.
        place: where: a JSON path such as `$.seq`, or empty.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_REQUEST

    def __init__(self, message: str, *, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class InvariantBroken(ParleyError):
    """A state that our own rules exclude: a bug. The process ends before it acknowledges anything."""
