"""`parley policy`: safety policies. A broken one is refused here, and the last good one stays in force."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.cli.arguments import add_config, add_data, source
from infra.cli.table import render
from infra.runtime.kafka_settings import KafkaSettings
from schemas.records import PolicyPublished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`list`, `push FILE`."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listing = acts.add_parser("list", help="list the policies in force and their rules", allow_abbrev=False)
    push = acts.add_parser(
        "push", help="check a policy and put it in force, in place of the one of its name", allow_abbrev=False
    )
    push.add_argument("file", type=Path, metavar="FILE", help="TOML: policy, sentence, [[rules]]")
    for each in (listing, push):
        add_data(each)
        add_config(each)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the act."""
    from stream_processors.moderation.publication import check
    from stream_processors.moderation.publishing import list_policies, push_policy

    # Checked before a broker is asked for: a broken file is refused anywhere.
    checked = check(arguments.file) if arguments.act == "push" else None
    settings = source(arguments).read(KafkaSettings, "kafka")
    if checked is None:
        sys.stdout.write(_listed(asyncio.run(list_policies(settings))))
        return 0
    published = asyncio.run(push_policy(settings, checked))
    count = len(published.rules)
    sys.stdout.write(f"{published.policy} version {published.policy_version} is in force: {count} rules\n")
    return 0


def _listed(policies: Sequence[PolicyPublished]) -> str:
    rows = [
        (
            policy.policy,
            str(policy.policy_version),
            str(rule.get("rule", "")),
            str(rule.get("stage", "both")),
            str(rule.get("action", "refuse")),
            str(len(rule.get("texts", ()))),
            policy.at,
        )
        for policy in policies
        for rule in policy.rules or ({},)
    ]
    return render(("POLICY", "VERSION", "RULE", "STAGE", "ACTION", "TEXTS", "SINCE"), rows)
