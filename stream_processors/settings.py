"""The sections of the three services, gathered for `main.py` and the settings' documentation."""

from stream_processors.moderation.settings import ModerationSettings
from stream_processors.persistence.settings import PersistenceSettings

__all__ = ["ModerationSettings", "PersistenceSettings"]
