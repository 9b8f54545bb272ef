"""An incremental fetcher of any number of Kafka partitions: no consumer, no group, a set that changes at once.

`session` is pure (the client's half of KIP-227), `wire` packs and unpacks Fetch version 11, `kafka_tail` places logs in
polls and runs those over aiokafka's connections.
"""
