"""A policy file checked and made a record: what is wrong with it is told before anybody judges by it.

policy = "house"                       # its name; default: the file's
sentence = "I can't talk about that."  # what a person is told in place of a stopped text

[[rules]]
rule = "weapons"
kind = "literal"                       # or "pattern"
texts = ["pipe bomb"]
stage = "both"                         # input, output, both
action = "refuse"                      # refuse, withhold (both stop the text), flag (only tells analysts)
whole_word = true                      # default: literals do, patterns don't
tenants = ["acme"]                     # default: all
tiers = ["free"]                       # default: all
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from schemas import codec, ids
from schemas.errors import ContractError
from schemas.records import PolicyPublished
from schemas.topics import MAX_RECORD_BYTES
from stream_processors.moderation.policy import Policy, PolicyError, Rule, rule_of

DEFAULT_SENTENCE: Final = "I can't help with that."
_FILE_KEYS: Final = ("policy", "sentence", "rules")
_RULE_KEYS: Final = tuple(field.name for field in fields(Rule))


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A checked policy, not yet published: it can be matched as it stands."""

    policy: str
    sentence: str
    rules: tuple[Mapping[str, Any], ...]


def check(path: Path) -> PolicyFile:
    """The policy in a TOML file.

    Raises:
        PolicyError: it can't be read or can't be put in force; one line that says where and why.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} is not TOML: {error}") from error
    try:
        return checked({"policy": path.stem, **plain})
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def checked(plain: Mapping[str, Any]) -> PolicyFile:
    """The policy in a plain mapping of the same form. Raises PolicyError."""
    _refuse_unknown(plain, _FILE_KEYS, "")
    name, sentence, rules = plain.get("policy"), plain.get("sentence", DEFAULT_SENTENCE), plain.get("rules", [])
    try:
        ids.parse_name(name if isinstance(name, str) else "")
    except ContractError:
        raise PolicyError(f"policy: {name!r} is not a name: 1 to 48 of a-z, 0-9 and -") from None
    if not isinstance(sentence, str) or not sentence.strip():
        raise PolicyError("sentence: must be a text")
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise PolicyError("rules: must be tables, [[rules]]")
    for place, rule in enumerate(rules):
        _refuse_unknown(rule, _RULE_KEYS, f"rule {rule.get('rule', place + 1)!r}, ")
    file = PolicyFile(str(name), sentence, tuple(rules))
    Policy(file.policy, 1, sentence, map(rule_of, rules))
    if len(codec.encode(record(file, version=1, at=""))) > MAX_RECORD_BYTES:
        raise PolicyError(f"larger than {MAX_RECORD_BYTES} bytes: split it")
    return file


def record(file: PolicyFile, *, version: int, at: str) -> PolicyPublished:
    """The record that puts the policy in force.

    Args:
        version: one more than that of the policy's last record.
    """
    return PolicyPublished(
        id=f"{file.policy}.{version}",
        at=at,
        policy=file.policy,
        policy_version=version,
        rules=file.rules,
        sentence=file.sentence,
    )


def _refuse_unknown(plain: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in plain.keys() - set(known):
        close = difflib.get_close_matches(key, list(known), n=1)
        raise PolicyError(f"{where}{key}: unknown" + (f"; did you mean {close[0]}?" if close else ""))
