"""`parley key`: API keys. Kafka holds their hashes only; the key itself is printed once."""

import argparse
import asyncio
import secrets
import sys
from dataclasses import replace
from typing import Final

from infra.cli.arguments import add_config, add_data, name, source
from infra.cli.compacted import newest
from infra.cli.table import render
from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from schemas import identity, instants, topics
from schemas.errors import NotFound
from schemas.records import KeyChanged

DEFAULT_TIER: Final = "standard"
SECRET_BYTES: Final = 24  # 192 bits: no one guesses it, and it fits a line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`create`, `list`, `revoke`."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    create = acts.add_parser("create", help="make a key and print it, alone", allow_abbrev=False)
    create.add_argument("--tenant", type=name, required=True, help="who pays and is isolated")
    create.add_argument("--tier", type=name, default=DEFAULT_TIER, help=f"class of service (default: {DEFAULT_TIER})")
    create.add_argument(
        "--scope",
        action="append",
        choices=identity.SCOPES,
        dest="scopes",
        help=f"what it may do; repeat for several (default: {identity.READ} and {identity.WRITE})",
    )
    create.add_argument("--label", help="a note for people")
    revoke = acts.add_parser("revoke", help="make a key worthless", allow_abbrev=False)
    revoke.add_argument("key_id", metavar="KEY_ID", help="as `parley key list` shows it")
    listing = acts.add_parser("list", help="list the keys", allow_abbrev=False)
    for each in (create, listing, revoke):
        add_data(each)
        add_config(each)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the act."""
    settings = source(arguments).read(KafkaSettings, "kafka")
    if arguments.act == "create":
        scopes = tuple(arguments.scopes or (identity.READ, identity.WRITE))
        key, record = new_key(tenant=arguments.tenant, tier=arguments.tier, scopes=scopes, label=arguments.label)
        asyncio.run(publish(settings, record))
        sys.stdout.write(f"{key}\n")
    elif arguments.act == "revoke":
        asyncio.run(_revoke(settings, arguments.key_id))
    else:
        sys.stdout.write(asyncio.run(_listed(settings)))
    return 0


def new_key(*, tenant: str, tier: str, scopes: tuple[str, ...], label: str | None) -> tuple[str, KeyChanged]:
    """Return a new key and what Kafka may know of it."""
    key_id = secrets.token_hex(6)
    key = identity.write_key(key_id, secrets.token_urlsafe(SECRET_BYTES))
    return key, KeyChanged(
        id=f"key-{key_id}-1",
        at=instants.from_ms(SYSTEM.wall_ms()),
        tenant=tenant,
        key_id=key_id,
        hash=identity.key_hash(key),
        tier=tier,
        scopes=scopes,
        label=label,
    )


async def publish(settings: KafkaSettings, record: KeyChanged) -> None:
    """Append the record; every gateway and delivery node knows it a moment later."""
    appender = Appender(settings, "cli")
    try:
        await appender.append(topics.KEYS, record)
    finally:
        await appender.stop()


async def _revoke(settings: KafkaSettings, key_id: str) -> None:
    keys = await newest(settings, topics.KEYS, KeyChanged)
    if key_id not in keys:
        raise NotFound(f"there is no key {key_id}: see `parley key list`")
    # The record stays, so that the list shows what was revoked; nothing is ever revived.
    gone = replace(keys[key_id], revoked=True, id=f"key-{key_id}-2", at=instants.from_ms(SYSTEM.wall_ms()))
    await publish(settings, gone)


async def _listed(settings: KafkaSettings) -> str:
    keys = await newest(settings, topics.KEYS, KeyChanged)
    rows = [
        (k.key_id, k.tenant or "", k.tier, " ".join(k.scopes), k.at, "revoked" if k.revoked else "valid", k.label or "")
        for k in sorted(keys.values(), key=lambda k: (k.tenant or "", k.at))
    ]
    return render(("KEY ID", "TENANT", "TIER", "SCOPES", "SINCE", "STATE", "LABEL"), rows)
