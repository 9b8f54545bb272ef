"""The Python client of `parley.v1+json`, for programs outside. No room of the service knows it."""

from delivery.client.calls import NotAnswered
from delivery.client.parley_client import ParleyClient, TicketSource
from delivery.client.reading import Reading, Refused
from delivery.client.thread import Thread, Turn

__all__ = ["NotAnswered", "ParleyClient", "Reading", "Refused", "Thread", "TicketSource", "Turn"]
