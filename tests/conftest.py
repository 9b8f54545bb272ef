"""Fixtures for all tests; what they are is told in tests/support."""

from hypothesis import settings

from tests.support.brokers import broker_loop, cassandra, kafka, keyspace, topic_prefix
from tests.support.browser import browser
from tests.support.models import model_dir
from tests.support.pipeline import pipeline

# No test asserts a time: a machine that is busy elsewhere makes no example wrong.
settings.register_profile("parley", deadline=None)
settings.load_profile("parley")

__all__ = ["broker_loop", "browser", "cassandra", "kafka", "keyspace", "model_dir", "pipeline", "topic_prefix"]
