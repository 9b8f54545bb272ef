"""Persistence: copies turns and conversations from Kafka into Cassandra, so that they outlive their topics."""
