"""Cassandra's schema as numbered CQL files, each applied once."""

from infra.migrations.runner import migrate

__all__ = ["migrate"]
