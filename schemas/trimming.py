"""What gives way when a turn's end would grow beyond a record of the conversation log. Pure."""

from dataclasses import replace
from typing import Final

from schemas.topics import MAX_LOG_RECORD_BYTES
from schemas.turns import Detail

# The user's text has up to 192 KiB of the record's 256, instructions may repeat as much.
_ROOM_FOR_INSTRUCTIONS: Final = MAX_LOG_RECORD_BYTES - 32 * 1024


def fitted(detail: Detail, input_text: str) -> Detail:
    """The detail without its instructions where they and the user's text don't fit one record."""
    spelled = len(input_text.encode()) + len((detail.instructions or "").encode())
    return replace(detail, instructions=None) if spelled > _ROOM_FOR_INSTRUCTIONS else detail
