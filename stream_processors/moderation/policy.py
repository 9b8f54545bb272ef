"""Policies and their rules as values, checked at birth, and the set of those in force.

A `PolicySet` never changes: who has one judges by it, whatever is published meanwhile. A rule that can't be matched is
refused here, so what a screen holds can always be matched, in time linear in the text.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from schemas import codec, ids
from schemas.errors import CallerError, ContractError
from schemas.records import PolicyPublished
from schemas.turns import Stage
from stream_processors.moderation.dialect import Pattern, PatternError, parse
from stream_processors.moderation.literal import Literal, LiteralError, spell
from stream_processors.moderation.matcher import Automaton, Term

MAX_TEXTS: Final = 10_000
"""Texts of one policy: some 2 KB of memory each, and its record must stay below 1 MB."""


class PolicyError(CallerError):
    """A policy that can't be put in force, and why."""


class RuleKind(StrEnum):
    """How a rule's texts are read."""

    LITERAL = "literal"
    PATTERN = "pattern"


class RuleStage(StrEnum):
    """Which texts a rule judges."""

    INPUT = "input"
    OUTPUT = "output"
    BOTH = "both"


class RuleAction(StrEnum):
    """What a match does. `refuse` and `withhold` both stop the text: refused at the input, withheld at the output."""

    REFUSE = "refuse"
    WITHHOLD = "withhold"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a policy.

    Args:
        rule: its name within the policy.
        texts: any of them matches.
        whole_word: a match begins and ends where a word does. None: True for literals, False for patterns.
        tenants, tiers: whom it holds for; empty = all.
    """

    rule: str
    kind: RuleKind = RuleKind.LITERAL
    texts: tuple[str, ...]
    stage: RuleStage = RuleStage.BOTH
    action: RuleAction = RuleAction.REFUSE
    whole_word: bool | None = None
    tenants: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()

    @property
    def is_whole_word(self) -> bool:
        """`whole_word` with its default."""
        return self.kind == RuleKind.LITERAL if self.whole_word is None else self.whole_word

    @property
    def stops(self) -> bool:
        """True when a match stops the text, False when it is only told."""
        return self.action != RuleAction.FLAG

    def judges(self, stage: Stage, tenant: str | None, tier: str | None) -> bool:
        """True when the rule holds for such a text."""
        if self.stage not in (RuleStage.BOTH, stage.value):
            return False
        return (not self.tenants or tenant in self.tenants) and (not self.tiers or tier in self.tiers)


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    parts: tuple[Literal | Pattern, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """What a matched text answers for. `order`: lower ones speak first when two match at once."""

    order: int
    rule: Rule
    policy: str
    version: int
    sentence: str

    @property
    def stops(self) -> bool:
        """True when it stops the text."""
        return self.rule.stops


class Policy:
    """A named list of rules, compiled.

    Args:
        name: what it is published under; a later version replaces it.
        version: rises with each publication.
        sentence: what a person is told in place of a stopped text.
        rules: may be empty: such a policy lets everything pass.

    Raises:
        PolicyError: a rule can't be matched.
    """

    def __init__(self, name: str, version: int, sentence: str, rules: Iterable[Rule]) -> None:
        self.name: Final = name
        self.version: Final = version
        self.sentence: Final = sentence
        self.rules: Final = tuple(_compiled(rule) for rule in rules)
        names = [each.rule.rule for each in self.rules]
        for each in names:
            if names.count(each) > 1:
                raise PolicyError(f"rule {each!r}: named twice")
        if sum(len(each.rule.texts) for each in self.rules) > MAX_TEXTS:
            raise PolicyError(f"more than {MAX_TEXTS} texts: split the policy")

    @classmethod
    def of(cls, record: PolicyPublished) -> "Policy":
        """The policy in a record. Raises PolicyError."""
        return cls(record.policy, record.policy_version, record.sentence, map(rule_of, record.rules))


def rule_of(plain: Mapping[str, Any]) -> Rule:
    """The rule in a record's mapping; unknown keys are ignored. Raises PolicyError."""
    try:
        return codec.convert(dict(plain), Rule)
    except ContractError as error:
        name = plain.get("rule")
        where = f"rule {name!r}" if isinstance(name, str) else "a rule"
        raise PolicyError(f"{where}: {error} at {error.place}") from None


def _compiled(rule: Rule) -> _Compiled:
    try:
        ids.parse_name(rule.rule)
    except ContractError as error:
        raise PolicyError(f"rule {rule.rule[:60]!r}: {error}") from None
    if not rule.texts:
        raise PolicyError(f"rule {rule.rule!r}: no texts")
    parts: list[Literal | Pattern] = []
    for text in rule.texts:
        try:
            if rule.kind == RuleKind.LITERAL:
                parts += spell(text, whole_word=rule.is_whole_word)
            else:
                parts.append(parse(text, whole_word=rule.is_whole_word))
        except (LiteralError, PatternError) as error:
            raise PolicyError(f"rule {rule.rule!r}, text {text[:80]!r}: {error}") from None
    return _Compiled(rule, tuple(parts))


class PolicySet:
    """The policies in force together. Automata are made when first asked for and shared by all screens.

    Args:
        policies: at most one of each name; none = everything passes.
    """

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        # By name, so that every process asks the rules in the same order.
        self.policies: Final = tuple(sorted(policies, key=lambda each: each.name))
        self._rules = [(policy, each) for policy in self.policies for each in policy.rules]
        self._tenants = {tenant for _, each in self._rules for tenant in each.rule.tenants}
        self._tiers = {tier for _, each in self._rules for tier in each.rule.tiers}
        self._scopes: dict[tuple[Stage, str | None, str | None], Automaton[Match]] = {}
        self._automata: dict[tuple[int, ...], Automaton[Match]] = {}

    def automaton(self, stage: Stage, tenant: str | None, tier: str | None) -> Automaton[Match]:
        """What matches the rules for such a text."""
        # Whoever no rule names is like everybody else: the table stays as small as the rules.
        scope = (stage, tenant if tenant in self._tenants else None, tier if tier in self._tiers else None)
        found = self._scopes.get(scope)
        if found is None:
            found = self._scopes[scope] = self._made(*scope)
        return found

    def replaced(self, policy: Policy) -> "PolicySet":
        """This set with the policy in force, in place of the one of its name."""
        return PolicySet((*(each for each in self.policies if each.name != policy.name), policy))

    def without(self, name: str) -> "PolicySet":
        """This set without the policy of that name."""
        return PolicySet(each for each in self.policies if each.name != name)

    def version_of(self, name: str) -> int:
        """The version in force of that policy, 0 when there is none."""
        return next((each.version for each in self.policies if each.name == name), 0)

    def _made(self, stage: Stage, tenant: str | None, tier: str | None) -> Automaton[Match]:
        chosen = [
            Term(Match(order, each.rule, policy.name, policy.version, policy.sentence), each.parts)
            for order, (policy, each) in enumerate(self._rules)
            if each.rule.judges(stage, tenant, tier)
        ]
        # Scopes with the same rules share one automaton.
        key = tuple(term.outcome.order for term in chosen)
        if key not in self._automata:
            self._automata[key] = Automaton(chosen)
        return self._automata[key]


EMPTY: Final = PolicySet()
"""Nothing is in force: everything passes."""
