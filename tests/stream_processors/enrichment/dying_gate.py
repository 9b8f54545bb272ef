"""A gate as a process of its own, for tests that kill it: `python -m ... BOOTSTRAP PREFIX DIRECTORY [STEP [COUNT]]`.

With a step it kills itself, as SIGKILL does, the COUNTth time that step is reached. It prints `up` when it can work.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from infra.runtime.band_settings import BandSettings
from infra.runtime.kafka import KafkaSettings
from infra.runtime.metrics import Metrics
from stream_processors.enrichment.service import EnrichmentService
from stream_processors.enrichment.settings import EnrichmentSettings
from tests.stream_processors.enrichment.world import NOWHERE


async def main(bootstrap: str, prefix: str, directory: str, step: str = "", count: str = "1") -> None:
    left = int(count)

    def on_step(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    service = EnrichmentService(
        kafka=KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix, partitions=2, lanes=2, inference_partitions=2),
        cassandra=NOWHERE,
        settings=EnrichmentSettings(data_dir=Path(directory), session_timeout_s=6.0, standby_replicas=0),
        bands={"standard": BandSettings(priority=1)},
        instructions={"acme": "Be brief."},
        metrics=Metrics("enrichment"),
        on_step=on_step,
    )
    await service.start()
    while service.partitions == ():  # noqa: ASYNC110 - faust tells nobody
        await asyncio.sleep(0.05)
    print("up", flush=True)
    await service.watch()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
