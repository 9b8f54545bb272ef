"""`parley models`: what the pools serve."""

import argparse
import asyncio
import sys

from infra.cli.arguments import add_config, add_data, source
from infra.cli.compacted import newest
from infra.cli.table import render
from infra.runtime.kafka_settings import KafkaSettings
from schemas import topics
from schemas.records import DeploymentSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`list`."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listing = acts.add_parser("list", help="list pools and their models", allow_abbrev=False)
    add_data(listing)
    add_config(listing)


def run(arguments: argparse.Namespace) -> int:
    """Print the list."""
    settings = source(arguments).read(KafkaSettings, "kafka")
    deployments = asyncio.run(newest(settings, topics.DEPLOYMENTS, DeploymentSet))
    rows = [
        (d.pool, d.deployment, d.model, d.model_version, d.engine, str(d.max_model_len), d.at)
        for d in sorted(deployments.values(), key=lambda d: d.pool)
    ]
    sys.stdout.write(render(("POOL", "DEPLOYMENT", "MODEL", "VERSION", "ENGINE", "TOKENS", "SINCE"), rows))
    return 0
