"""How busy GPUs are, by an NVML that a script plays."""

from types import SimpleNamespace
from typing import Any

import pytest

from inference_consumers.fleet.counting import Counting
from inference_consumers.fleet.gpus import visible_gpus
from infra.runtime.metrics import Metrics


class NVMLError(Exception):
    """What NVML raises."""


class Nvml:
    """Two GPUs, busy by 25 and 50 per cent."""

    NVMLError = NVMLError

    def __init__(self, *, has_driver: bool = True) -> None:
        self.has_driver = has_driver
        self.silent: set[int] = set()

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if not self.has_driver:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}abc"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        if handle in self.silent:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=25 * (handle + 1))


def test_each_gpu_tells_its_part() -> None:
    """Percent becomes a ratio, the number is the gauge's label."""
    metrics = Metrics("inference")
    Counting(metrics, "default", lambda: 0.0).gpus(visible_gpus(lambda _name: Nvml(), "0,1").utilization())
    text = metrics.exposition().decode()
    assert 'parley_gpu_utilization_ratio{gpu="0"} 0.25' in text
    assert 'parley_gpu_utilization_ratio{gpu="1"} 0.5' in text


@pytest.mark.parametrize(
    ("visible", "seen"), [("1", {1}), ("GPU-0ab", {0}), ("", set()), ("0, GPU-1abc", {0, 1}), ("-1", set())]
)
def test_only_what_is_left_to_us_is_told(visible: str, seen: set[int]) -> None:
    """Another's GPU is no concern of this worker's gauge."""
    assert set(visible_gpus(lambda _name: Nvml(), visible).utilization()) == seen


def test_a_gpu_that_can_t_tell_is_left_out() -> None:
    """A part of a GPU has no such number: the others go on."""
    nvml = Nvml()
    gpus = visible_gpus(lambda _name: nvml, "0,1")
    nvml.silent.add(0)
    assert gpus.utilization() == {1: 0.5}
    nvml.silent.clear()
    assert gpus.utilization() == {1: 0.5}


def test_without_a_gpu_there_is_nothing() -> None:
    """Neither without the package nor without a driver."""

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    assert visible_gpus(missing).utilization() == {}
    assert visible_gpus(lambda _name: Nvml(has_driver=False)).utilization() == {}
