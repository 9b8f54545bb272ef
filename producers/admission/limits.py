"""What is too large to be taken: bounds that keep every record below Kafka's default (contract, "Topics")."""

from typing import Final

from schemas.errors import CallerError, TooLarge

MAX_BODY_BYTES: Final = 768 * 1024
MAX_MESSAGE_BYTES: Final = 192 * 1024
MAX_DEADLINE_S: Final = 12 * 3600.0  # half the shortest retention on a turn's way, a day
MAX_METADATA_PAIRS: Final = 16
MAX_METADATA_KEY_CHARACTERS: Final = 64
MAX_METADATA_VALUE_CHARACTERS: Final = 512
MAX_STOPS: Final = 4
MAX_STOP_CHARACTERS: Final = 256
MAX_KEY_CHARACTERS: Final = 255  # of an Idempotency-Key


def body_too_large() -> TooLarge:
    """The error for a body over its limit."""
    return TooLarge(f"the body is larger than {MAX_BODY_BYTES // 1024} KiB: send less history")


def checked_message(text: str, param: str) -> str:
    """The message's text. Raises TooLarge; CallerError when there is none."""
    if len(text) > MAX_MESSAGE_BYTES or len(text.encode()) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"{param} is larger than {MAX_MESSAGE_BYTES // 1024} KiB: split it", param=param)
    if not text:
        raise CallerError(f"{param} must not be empty", param=param)
    return text
