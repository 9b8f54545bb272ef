"""What every bench prints alike: the machine, the spread and the sample count, never a mean alone."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path


def environment() -> str:
    """The machine and the revision that the figures were made on."""
    model = next((line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown CPU")
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    cores = len(os.sched_getaffinity(0))
    python = f"Python {platform.python_version()}"
    return f"{cores} cores of {model}, {memory_gb:.0f} GiB, {python}, revision {revision.stdout.strip() or 'unknown'}"


def _cpuinfo() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, round(share * len(ranked)) - 1))]


def spread(values: Sequence[float], unit: str) -> str:
    """`n=200 p50=1.2 p90=1.9 p99=3.4 max=5.0 ms`."""
    if not values:
        return "n=0"
    named = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    ranks = " ".join(f"{name}={percentile(values, share):.1f}" for name, share in named.items())
    return f"n={len(values)} {ranks} max={max(values):.1f} {unit}"


def range_of(values: Sequence[float], unit: str) -> str:
    """`n=5 min=1.0 median=1.2 max=1.4 MB`: for a few runs of the same thing."""
    return f"n={len(values)} min={min(values):.1f} median={percentile(values, 0.5):.1f} max={max(values):.1f} {unit}"


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, its threads included. Source: proc(5), /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process. Source: proc(5), /proc/PID/statm."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
