"""`parley policy`: safety policies. A broken one is refused here, and the last good one stays in force."""

import argparse
import asyncio
import dataclasses
import difflib
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from infra.cli.arguments import add_config, add_data, name, source
from infra.cli.compacted import newest
from infra.cli.table import render
from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from schemas import instants, topics
from schemas.errors import SettingsError
from schemas.records import PolicyPublished

KEYS: Final = ("name", "sentence", "rules")
SENTENCE: Final = "This can't be answered here."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`list`, `push FILE`."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listing = acts.add_parser("list", help="list the policies in force and their rules", allow_abbrev=False)
    push = acts.add_parser(
        "push", help="check a policy and put it in force, in place of the one of its name", allow_abbrev=False
    )
    push.add_argument("file", type=Path, metavar="FILE", help="TOML or JSON: name, sentence, rules (docs/policies.md)")
    push.add_argument("--name", type=name, help="the policy's name (default: the file's `name`, else the file's own)")
    for each in (listing, push):
        add_data(each)
        add_config(each)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the act."""
    if arguments.act == "list":
        settings = source(arguments).read(KafkaSettings, "kafka")
        sys.stdout.write(asyncio.run(_listed(settings)))
        return 0
    # Checked before a broker is asked for: a broken file is refused anywhere.
    draft = read_policy(arguments.file, arguments.name)
    settings = source(arguments).read(KafkaSettings, "kafka")
    published = asyncio.run(_push(settings, draft))
    sys.stdout.write(
        f"{published.policy} version {published.policy_version} is in force: {len(published.rules)} rules\n"
    )
    return 0


def read_policy(file: Path, named: str | None = None) -> PolicyPublished:
    """Return the policy in a file, checked as every screen will read it; its version is yet to be given.

    Raises:
        SettingsError: the file can't be read, or a key is unknown.
        PolicyError: a rule can't be matched.
    """
    from stream_processors.moderation.policy import Policy, Rule

    plain = _parsed(file)
    _refuse_unknown(file, "the policy", plain, KEYS)
    rules = plain.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise SettingsError(f"{file}: rules must be tables, [[rules]]")
    known = tuple(each.name for each in dataclasses.fields(Rule))
    for rule in rules:
        _refuse_unknown(file, f"rule {rule.get('rule', '?')!r}", rule, known)
    sentence = plain.get("sentence", SENTENCE)
    if not isinstance(sentence, str):
        raise SettingsError(f"{file}: sentence must be a text")
    draft = PolicyPublished(
        id="",
        at=instants.from_ms(SYSTEM.wall_ms()),
        policy=_name(file, named or plain.get("name", file.stem)),
        policy_version=0,
        rules=tuple(rules),
        sentence=sentence,
    )
    Policy.of(draft)
    return draft


def _parsed(file: Path) -> Mapping[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        plain = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{file} can't be read: {error.strerror}") from error
    except ValueError as error:  # of JSON, of TOML and of UTF-8
        raise SettingsError(f"{file} is not {'JSON' if file.suffix == '.json' else 'TOML'}: {error}") from error
    if not isinstance(plain, dict):
        raise SettingsError(f"{file} must hold name, sentence and rules")
    return plain


def _refuse_unknown(file: Path, what: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise SettingsError(f"{file}: {what}: {key} is unknown" + (f"; did you mean {close[0]}?" if close else ""))


def _name(file: Path, text: object) -> str:
    try:
        return name(str(text))
    except argparse.ArgumentTypeError as error:
        raise SettingsError(f"{file}: the policy's name {error}; give one by --name") from error


async def _push(settings: KafkaSettings, draft: PolicyPublished) -> PolicyPublished:
    known = await newest(settings, topics.POLICIES, PolicyPublished)
    version = known[draft.policy].policy_version + 1 if draft.policy in known else 1
    record = dataclasses.replace(draft, id=f"policy-{draft.policy}-{version}", policy_version=version)
    appender = Appender(settings, "cli")
    try:
        await appender.append(topics.POLICIES, record)
    finally:
        await appender.stop()
    return record


async def _listed(settings: KafkaSettings) -> str:
    policies = await newest(settings, topics.POLICIES, PolicyPublished)
    rows = [
        (
            p.policy,
            str(p.policy_version),
            str(rule.get("rule", "")),
            str(rule.get("stage", "both")),
            str(rule.get("action", "refuse")),
            str(len(rule.get("texts", ()))),
            p.at,
        )
        for p in sorted(policies.values(), key=lambda p: p.policy)
        for rule in p.rules or ({},)
    ]
    return render(("POLICY", "VERSION", "RULE", "STAGE", "ACTION", "TEXTS", "SINCE"), rows)
