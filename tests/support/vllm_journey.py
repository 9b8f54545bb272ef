"""vLLM's part of the engines' contract, in a process of its own: vLLM changes signals, logging and environment.

Run as a module with the model's directory; the last line that it prints is JSON.
"""

import asyncio
import json
import sys
import time
from contextlib import aclosing
from pathlib import Path

from inference_consumers.engines.port import Piece
from inference_consumers.engines.settings import VllmSettings
from inference_consumers.engines.vllm import VllmEngine
from tests.support import engine_contract as contract

ASKED = "Tell me about the sea."


async def main(directory: Path) -> None:
    """Stream, company, stop text, take-over and abort; raises on what doesn't hold."""
    settings = VllmSettings(slots=4, max_model_len=512, dtype="float32", enforce_eager=True, cpu_kv_cache_mb=1024)
    engine = VllmEngine(directory, settings)
    began = time.monotonic()
    info = await engine.start()
    ready_s = time.monotonic() - began
    answer = await contract.answered(engine, contract.asking("What is the capital of France?", max_tokens=20))
    await contract.check_length(engine, ASKED)
    await contract.check_stop(engine, ASKED)
    await contract.check_company(engine, [ASKED, "Name three colours."])
    await contract.check_continuing(engine, ASKED)
    await contract.check_ended_before(engine, ASKED)
    await contract.check_closing(engine, ASKED)
    aborted = 0
    async with aclosing(engine.generate(contract.asking(ASKED))) as cut:
        async for item in cut:
            aborted += isinstance(item, Piece)
            if aborted == 3:
                break
    unfinished = engine._llm.get_num_unfinished_requests()
    await engine.stop()
    told = {"text": answer.text, "pieces": len(answer.pieces), "unfinished": unfinished, "ready_s": round(ready_s, 1)}
    print(json.dumps(told | {"model": info.model, "can_continue": info.can_continue}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
