"""What is too large to be taken: bounds that keep every record below Kafka's default (contract, "Topics")."""

from collections.abc import Mapping
from typing import Final

from schemas import codec
from schemas.errors import CallerError, TooLarge

MAX_BODY_BYTES: Final = 768 * 1024
MAX_MESSAGE_BYTES: Final = 192 * 1024
# No record of a conversation log is larger than 256 KiB; beside these its end has stops, verdicts and numbers.
MAX_REPEATED_BYTES: Final = 236 * 1024
MAX_DEADLINE_S: Final = 12 * 3600.0  # half the shortest retention on a turn's way, a day
# Of a conversation: they go with every request, beside a body of full size.
MAX_INSTRUCTIONS_BYTES: Final = 64 * 1024
MAX_METADATA_PAIRS: Final = 16
MAX_METADATA_KEY_CHARACTERS: Final = 64
MAX_METADATA_VALUE_CHARACTERS: Final = 512
MAX_STOPS: Final = 4
MAX_STOP_CHARACTERS: Final = 256
MAX_KEY_CHARACTERS: Final = 255  # of an Idempotency-Key
_QUOTES: Final = 2


def body_too_large() -> TooLarge:
    """The error for a body over its limit."""
    return TooLarge(f"the body is larger than {MAX_BODY_BYTES // 1024} KiB: send less history")


def json_bytes(text: str) -> int:
    """How much of a record the text takes: JSON writes a quotation mark as two bytes, a control character as six."""
    return len(codec.encode(text)) - _QUOTES


def check_together(*texts: str | None, metadata: Mapping[str, str]) -> None:
    """Raise TooLarge unless all that a turn's end repeats of its request fits into one record of the log."""
    size = sum(json_bytes(text) for text in texts if text) + len(codec.encode(metadata))
    if size > MAX_REPEATED_BYTES:
        raise TooLarge(
            f"message, instructions and metadata are together larger than {MAX_REPEATED_BYTES // 1024} KiB: "
            "send less, or what was said before as messages"
        )


def checked_message(text: str, param: str) -> str:
    """The message's text. Raises TooLarge; CallerError when there is none."""
    if json_bytes(text) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"{param} is larger than {MAX_MESSAGE_BYTES // 1024} KiB: split it", param=param)
    if not text:
        raise CallerError(f"{param} must not be empty", param=param)
    return text
