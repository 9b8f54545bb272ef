"""How busy the GPUs are that this process sees, as NVIDIA's NVML says; nothing where there is none."""

import logging
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

_PERCENT: Final = 100

log = logging.getLogger(__name__)


class Gpus:
    """The GPUs by number, as the driver counts them.

    Args:
        nvml: the module `pynvml`, initialised; None sees no GPU.
        handles: NVML's own, by number.
    """

    def __init__(self, nvml: Any = None, handles: Mapping[int, Any] | None = None) -> None:
        self._nvml = nvml
        self._handles = dict(handles or {})

    def utilization(self) -> Mapping[int, float]:
        """Part of the last moment that each was busy, 0 to 1. One that can't be asked is left out from then on."""
        found: dict[int, float] = {}
        for number, handle in list(self._handles.items()):
            try:
                found[number] = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / _PERCENT
            except self._nvml.NVMLError as error:
                del self._handles[number]
                log.warning("GPU %d doesn't say how busy it is: %s", number, error)
        return found


def visible_gpus(load: Callable[[str], Any] = import_module, visible: str | None = None) -> Gpus:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES leaves us.

    NVML is asked directly, not through torch: a worker whose engine is elsewhere needs no torch, and vLLM forks.

    Args:
        load: gives a module by name.
        visible: None takes the environment's.
    """
    try:
        nvml = load("pynvml")
    except ImportError:
        return Gpus()
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        named = visible if visible is not None else os.environ.get("CUDA_VISIBLE_DEVICES")
        return Gpus(
            nvml, {i: each for i, each in enumerate(handles) if _is_seen(i, nvml.nvmlDeviceGetUUID(each), named)}
        )
    except nvml.NVMLError:
        return Gpus()  # no driver here: the package alone makes no GPU


def _is_seen(number: int, uuid: str | bytes, visible: str | None) -> bool:
    """Whether a list of numbers and beginnings of UUIDs names it. Source: CUDA programming guide, "Environment"."""
    if visible is None:
        return True
    text = uuid.decode() if isinstance(uuid, bytes) else uuid
    names = [name.strip() for name in visible.split(",")]
    return any(name == str(number) or (name.startswith("GPU-") and text.startswith(name)) for name in names)
