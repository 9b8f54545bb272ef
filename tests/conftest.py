"""Fixtures for all tests; what they are is told in tests/support."""

from tests.support.brokers import broker_loop, cassandra, kafka, keyspace, topic_prefix
from tests.support.browser import browser
from tests.support.models import model_dir
from tests.support.pipeline import pipeline

__all__ = ["broker_loop", "browser", "cassandra", "kafka", "keyspace", "model_dir", "pipeline", "topic_prefix"]
