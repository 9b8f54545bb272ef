"""What a course asks of the policies in force. A screen itself is the pure one of `stream_processors.moderation`."""

from typing import Protocol

from stream_processors.moderation.screen import Screen


class Screens(Protocol):
    """Makes output screens."""

    def screen(self, tenant: str, tier: str, released: str) -> Screen:
        """A screen that stands behind released text. It follows new policy versions until it is dropped."""
        ...
