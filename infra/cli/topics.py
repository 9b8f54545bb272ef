"""`parley topics`: the table of topics held against the brokers, and made there."""

import argparse
import asyncio
import sys

from infra.cli.arguments import add_config, add_data, source
from infra.cli.table import render
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import Applied, TopicAdmin
from schemas import topics
from schemas.errors import SettingsError
from schemas.topics import Topic

DAY_MS = 24 * 3600 * 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`list`, `apply`."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listing = acts.add_parser("list", help="list the topics of the table and whether they exist", allow_abbrev=False)
    apply = acts.add_parser(
        "apply", help="create those that are missing; say how the others differ from the table", allow_abbrev=False
    )
    for each in (listing, apply):
        add_data(each)
        add_config(each)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the act; 1 if topics differ from the table."""
    settings = source(arguments).read(KafkaSettings, "kafka")
    if arguments.act == "list":
        sys.stdout.write(asyncio.run(_listed(settings)))
        return 0
    applied = asyncio.run(apply_table(settings, tables_topics()))
    sys.stdout.writelines(f"created {name}\n" for name in applied.created)
    sys.stderr.writelines(f"parley: {difference}\n" for difference in applied.differences)
    if not applied.created and not applied.differences:
        sys.stdout.write("all topics are as the table has them\n")
    return 1 if applied.differences else 0


def tables_topics(pools: tuple[str, ...] = ("default", topics.CLOSING_POOL)) -> tuple[Topic, ...]:
    """Return the topics that exist before anything starts: the table's, and one for each pool."""
    return (*topics.TOPICS.values(), *(topics.inference_topic(pool) for pool in pools))


async def apply_table(settings: KafkaSettings, wanted: tuple[Topic, ...]) -> Applied:
    """Create what is missing and compare the rest. Raises KafkaUnavailable."""
    admin = TopicAdmin(settings, "cli")
    try:
        return await admin.apply(wanted)
    finally:
        await admin.stop()


def refuse_other_partitions(applied: Applied) -> None:
    """Raise SettingsError where a topic has another number of partitions: keys would change their places."""
    wrong = [str(each) for each in applied.differences if each.what == "number of partitions"]
    if wrong:
        raise SettingsError(
            "\n".join(f"{line}: set [kafka] to what is there, or use another topic_prefix" for line in wrong)
        )


async def _listed(settings: KafkaSettings) -> str:
    admin = TopicAdmin(settings, "cli")
    try:
        there = frozenset(await admin.names())
    finally:
        await admin.stop()
    rows = [
        (
            settings.named(topic.name),
            str(admin.partitions_of(topic)),
            topic.key.value,
            "compacted" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} d",
            "yes" if topic.name in there else "missing",
        )
        for topic in tables_topics()
    ]
    own = sum(1 for name in there if name.startswith(topics.OWN_TOPIC_PREFIX))
    heading = ("TOPIC", "PARTITIONS", "KEY", "KEPT", "EXISTS")
    return render(heading, rows) + (f"and {own} topics of single conversations\n" if own else "")
