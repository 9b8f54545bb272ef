"""What a worker counts."""

from dataclasses import replace

from inference_consumers.engines.port import EngineLoad
from inference_consumers.fleet.counting import Counting
from infra.runtime.metrics import Metrics
from schemas.fold import TurnFold
from schemas.turns import Action, Stage, Verdict
from tests.support.logs import delta, ended, started
from tests.support.samples import AT, TURN


def _fold(*interventions: Verdict) -> TurnFold:
    fold = TurnFold(TURN)
    fold.take(started(TURN, 1), 0)
    for seq in range(3):
        fold.take(delta(TURN, 1, seq), 1 + seq)
    fold.take(replace(ended(TURN, 1, 3), interventions=interventions, accepted_at=AT, model="m", tier="gold"), 9)
    return fold


def test_an_ended_turn_is_counted() -> None:
    """Turns, tokens by kind, times and verdicts are counted with the contract's labels and no others."""
    metrics = Metrics("inference")
    Counting(metrics, "default", lambda: 0.0).turn_ended(
        _fold(Verdict(stage=Stage.OUTPUT, action=Action.FLAG, rule="r"))
    )
    text = metrics.exposition().decode()
    assert 'parley_turns_total{model="m",reason="stop",tier="gold"} 1.0' in text
    assert 'parley_tokens_total{kind="delivered",model="m",tier="gold"} 3.0' in text
    assert 'parley_turn_ttft_seconds_count{model="m",tier="gold"} 1.0' in text
    assert 'parley_turn_itl_seconds_count{model="m",tier="gold"} 1.0' in text
    assert 'parley_safety_verdicts_total{action="flag",rule="r",stage="output"} 1.0' in text


def test_an_answer_that_passes_is_counted_too() -> None:
    """Each verdict that is published is counted, also the one that nothing matched."""
    metrics = Metrics("inference")
    Counting(metrics, "default", lambda: 0.0).turn_ended(_fold())
    assert (
        'parley_safety_verdicts_total{action="allow",rule="none",stage="output"} 1.0' in metrics.exposition().decode()
    )


def test_an_open_turn_is_not_counted() -> None:
    """Without an end there is nothing to count."""
    metrics = Metrics("inference")
    Counting(metrics, "default", lambda: 0.0).turn_ended(TurnFold(TURN))
    assert "parley_turns_total{" not in metrics.exposition().decode()


def test_the_rate_is_of_the_last_seconds() -> None:
    """Tokens count for five seconds, then they are forgotten."""
    now = [100.0]
    counting = Counting(Metrics("inference"), "default", lambda: now[0])
    counting.tokens_made(50)
    now[0] = 102.0
    counting.tokens_made(50)
    assert counting.tokens_per_s() == 20
    now[0] = 106.0
    assert counting.tokens_per_s() == 10
    now[0] = 200.0
    assert counting.tokens_per_s() == 0


def test_gauges_say_how_busy_the_engine_is() -> None:
    """Slots by state, the cache's use, and how old the last commit is."""
    metrics = Metrics("inference")
    counting = Counting(metrics, "default", lambda: 0.0)
    counting.engine(EngineLoad(slots=8, running=3, waiting=1, kv_usage=0.25))
    counting.commit_age("g", "t", 2, 1.5)
    text = metrics.exposition().decode()
    assert 'parley_engine_slots{pool="default",state="free"} 5.0' in text
    assert "parley_engine_kv_usage_ratio 0.25" in text
    assert 'parley_commit_age_seconds{group="g",partition="2",topic="t"} 1.5' in text
