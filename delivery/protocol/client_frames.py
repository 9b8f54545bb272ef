"""What a client sends, from text to checked frames."""

from dataclasses import dataclass

from schemas import codec
from schemas.errors import ContractError
from schemas.frames import CLIENT_FRAMES, ClientFrame


class BadFrame(ContractError):
    """Not a frame at all: whoever sends it doesn't speak this protocol (close code 4500)."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A frame with a fault that its sender can be told by `error`."""

    ref: str | int | None
    message: str


def read(text: bytes) -> ClientFrame | Misfit:
    """The frame in this text message.

    Raises:
        BadFrame: not a JSON object with a `type`.
    """
    try:
        value = codec.parse(text)
    except ContractError as error:
        raise BadFrame(f"a frame is a JSON object: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise BadFrame("a frame is a JSON object with a `type`")
    ref = value.get("ref")
    ref = ref if isinstance(ref, str | int) and not isinstance(ref, bool) else None
    kind = CLIENT_FRAMES.get(value["type"])
    if kind is None:
        return Misfit(ref, f"no frame is of type {value['type'][:40]!r}: one of {', '.join(CLIENT_FRAMES)}")
    try:
        frame: ClientFrame = codec.convert(value, kind)
    except ContractError as error:
        return Misfit(ref, f"{error}{f' at {error.place}' if error.place else ''}")
    return frame
