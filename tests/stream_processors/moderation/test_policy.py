import re
from pathlib import Path

import pytest

from schemas.turns import Action, Stage, Verdict
from stream_processors.moderation.policy import EMPTY, Policy, PolicyError, PolicySet, Rule, RuleAction, RuleStage
from stream_processors.moderation.publication import DEFAULT_SENTENCE, check, checked, record
from stream_processors.moderation.screen import judge
from stream_processors.moderation.verdicts import allowed, reached, stops
from tests.stream_processors.moderation.texts import SENTENCE, rules
from tests.stream_processors.records import requested


def stopped(
    policies: PolicySet, text: str, *, stage: Stage = Stage.INPUT, tenant: str = "acme", tier: str = ""
) -> bool:
    return judge(policies, stage, tenant, text, tier).verdict is not None


def test_stages_are_told_apart() -> None:
    """A rule judges the input, the output or both; what it does is called by the stage."""
    for stage, wanted in (
        (RuleStage.INPUT, (True, False)),
        (RuleStage.OUTPUT, (False, True)),
        (RuleStage.BOTH, (True, True)),
    ):
        policies = rules("bomb", stage=stage)
        assert (stopped(policies, "bomb"), stopped(policies, "bomb", stage=Stage.OUTPUT)) == wanted
    verdict = judge(rules("bomb"), Stage.OUTPUT, None, "bomb").verdict
    assert verdict == Verdict(
        stage=Stage.OUTPUT,
        action=Action.WITHHOLD,
        policy="house",
        policy_version=3,
        rule="forbidden",
        sentence=SENTENCE,
    )


def test_rules_hold_for_whom_they_name() -> None:
    """A rule for some tenants or tiers leaves all others alone."""
    policies = rules("bomb", tenants=("acme",), tiers=("free", "trial"))
    assert stopped(policies, "bomb", tier="free")
    assert not stopped(policies, "bomb", tier="gold")
    assert not stopped(policies, "bomb", tenant="other", tier="free")


def test_those_whom_no_rule_names_share_an_automaton() -> None:
    """However many tenants there are, the automata are as many as the rules tell apart."""
    policies = rules("bomb", tenants=("acme",))
    assert policies.automaton(Stage.INPUT, "a", None) is policies.automaton(Stage.INPUT, "b", "gold")
    assert policies.automaton(Stage.INPUT, "acme", None) is not policies.automaton(Stage.INPUT, "a", None)


def test_flags_let_a_text_pass() -> None:
    """A flag is told once and stops nothing."""
    judged = judge(rules("bomb", action=RuleAction.FLAG), Stage.INPUT, None, "bomb bomb bomb")
    assert judged.verdict is None
    assert [(flag.action, flag.rule, flag.sentence) for flag in judged.flags] == [(Action.FLAG, "forbidden", None)]


def test_a_policy_replaces_the_one_of_its_name() -> None:
    """A newer version takes the place of the older, other policies stay; a set that somebody holds never changes."""
    first = EMPTY.replaced(Policy("a", 1, "", [Rule(rule="r", texts=("one",))]))
    second = first.replaced(Policy("a", 2, "", [Rule(rule="r", texts=("two",))])).replaced(Policy("b", 1, "", []))
    assert (first.version_of("a"), second.version_of("a"), second.version_of("c")) == (1, 2, 0)
    assert stopped(first, "one")
    assert not stopped(second, "one")
    assert stopped(second, "two")
    assert not stopped(second.without("a"), "two")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule(rule="Bad Name", texts=("x",)), "is not a name"),
        (Rule(rule="r", texts=()), "no texts"),
        (Rule(rule="r", texts=("\u200b",)), "no letter"),
    ],
)
def test_rules_that_cannot_be_matched_are_refused(rule: Rule, why: str) -> None:
    """A policy is refused at birth when one of its rules can't be matched."""
    with pytest.raises(PolicyError, match=why):
        Policy("house", 1, "", [rule])


def test_a_name_stands_for_one_rule() -> None:
    """Two rules of one name in a policy can't be told apart by an analyst."""
    with pytest.raises(PolicyError, match="named twice"):
        Policy("house", 1, "", [Rule(rule="r", texts=("a",)), Rule(rule="r", texts=("b",))])


FILE = r"""
policy = "house"
sentence = "Not that."

[[rules]]
rule = "weapons"
texts = ["pipe bomb", "nerve agent"]

[[rules]]
rule = "cards"
kind = "pattern"
stage = "output"
action = "withhold"
whole_word = true
texts = ['\d{4}(?:[ -]?\d{4}){3}']
"""


def test_a_file_becomes_a_record(tmp_path: Path) -> None:
    """A checked file is published as it was checked, and screens judge by it."""
    (tmp_path / "any.toml").write_text(FILE, encoding="utf-8")
    published = record(check(tmp_path / "any.toml"), version=4, at="2026-01-31T12:00:00.000Z")
    assert (published.id, published.policy, published.policy_version, published.sentence) == (
        "house.4",
        "house",
        4,
        "Not that.",
    )
    policies = EMPTY.replaced(Policy.of(published))
    assert stopped(policies, "a nerve-agent")
    assert stopped(policies, "4111 1111 1111 1111", stage=Stage.OUTPUT)
    assert not stopped(policies, "4111 1111 1111 1111")


def test_a_file_may_say_little(tmp_path: Path) -> None:
    """The name defaults to the file's, the sentence to a plain one; no rules let everything pass."""
    (tmp_path / "empty.toml").write_text("", encoding="utf-8")
    file = check(tmp_path / "empty.toml")
    assert (file.policy, file.sentence, file.rules) == ("empty", DEFAULT_SENTENCE, ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("policy = ", "is not TOML"),
        ('policy = "Big House"', "is not a name"),
        ("sentence = 3", "sentence: must be a text"),
        ("rules = 3", "rules: must be tables"),
        ('polcy = "x"', "polcy: unknown; did you mean policy?"),
        ('[[rules]]\nrule = "r"\ntext = ["a"]', "rule 'r', text: unknown; did you mean texts?"),
        ('[[rules]]\nrule = "r"', "rule 'r': Object missing required field `texts`"),
        ('[[rules]]\nrule = "r"\ntexts = "a"', "rule 'r': Expected `array`, got `str` at $.texts"),
        ('[[rules]]\nrule = "r"\ntexts = ["a"]\naction = "burn"', "rule 'r': Invalid enum value 'burn' at $.action"),
        ('[[rules]]\nrule = "r"\nkind = "pattern"\ntexts = ["a*"]', "rule 'r', text 'a*': * has no longest length"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    """What is wrong with a policy file is told in one line that names the file and the place."""
    (tmp_path / "broken.toml").write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match=re.escape(why)) as refused:
        check(tmp_path / "broken.toml")
    assert str(refused.value).startswith(str(tmp_path / "broken.toml"))
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that isn't there is named."""
    with pytest.raises(PolicyError, match="can't be read: No such file"):
        check(tmp_path / "none.toml")


def test_a_policy_beyond_a_record_is_refused() -> None:
    """What wouldn't fit into a record is refused before anybody sends it."""
    texts = [f"{number:0200d}" for number in range(9_000)]
    with pytest.raises(PolicyError, match="larger than"):
        checked({"policy": "big", "rules": [{"rule": "r", "texts": texts}]})


def test_a_verdict_is_told_once_by_its_id() -> None:
    """The same verdict on the same turn has the same id; allowed is a verdict too, and stops nothing."""
    turn = requested("x")
    told = reached(allowed(Stage.INPUT), of=turn, at="2026-01-31T12:00:00.000Z")
    assert told.id == f"{turn.turn}.input.none"
    assert (told.action, told.conversation, told.tenant) == (Action.ALLOW, turn.conversation, turn.tenant)
    assert not stops(allowed(Stage.INPUT))
    assert stops(Verdict(stage=Stage.INPUT, action=Action.REFUSE))
