"""What the pools serve, from a real Kafka."""

import asyncio

import pytest

from infra.cli.main import main
from infra.cli.supervision.deployments import deployments_of
from infra.cli.supervision.plan import Options
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.settings import SettingsSource
from schemas import topics


@pytest.fixture(autouse=True)
def _broker(kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("PARLEY_KAFKA_TOPIC_PREFIX", topic_prefix)
    assert main(["topics", "apply"]) == 0


async def test_the_newest_deployment_of_each_pool_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing before anything is deployed; then one line a pool."""
    source = SettingsSource()
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["models", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    appender = Appender(source.read(KafkaSettings, "kafka"), "test")
    for _ in range(2):
        for deployment in deployments_of(Options(engine="simulated"), source, print):
            await appender.append(topics.DEPLOYMENTS, deployment)
    await appender.stop()
    assert await asyncio.to_thread(main, ["models", "list"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [["closing", "closing", "closing"], ["default", "simulated-simulated", "simulated"]]
