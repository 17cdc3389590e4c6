"""Times of contenders, taken in turn, and the machine they were taken on.

Contenders run one after the other, round after round, so that whatever else the machine does meets all of them. A
round gives one ratio for each; the ratio reported is the median over the rounds, its standard error that of a median
of independent rounds, 1.2533·s/√rounds, which slow drifts of the machine do not enter.
"""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Timing", "machine", "peak_memory", "timed"]

MEDIAN = 1.2533
"""√(π/2): the standard error of a median over that of a mean, for normal deviations."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender, per round.

    >>> a, b = Timing([1.0, 1.0, 1.0]), Timing([2.0, 3.0, 2.0])
    >>> a.seconds, b.over(a)[0]
    (1.0, 2.0)
    """

    rounds: list[float]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.rounds)

    def over(self, other: "Timing") -> tuple[float, float]:
        """Return the median of this contender's times over the other's, round by round, and its standard error."""
        ratios = [a / b for a, b in zip(self.rounds, other.rounds, strict=True)]
        stderr = MEDIAN * statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
        return statistics.median(ratios), stderr


def timed(
    repeats: int,
    *contenders: Callable[[], object],
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Time each contender `repeats` times, in turn, after `warm_up` rounds that do not count."""
    rounds: list[list[float]] = [[] for _ in contenders]
    for _ in range(repeats + warm_up):
        for contender, kept in zip(contenders, rounds, strict=True):
            start = clock()
            contender()
            kept.append(clock() - start)
    return [Timing(kept[warm_up:]) for kept in rounds]


def machine() -> str:
    """Describe processor, threads and torch in one line, without the machine's name."""
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{_processor()}{accelerator}, {torch.get_num_threads()} threads, {versions}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory() -> float:
    """MiB that this process has held at its peak.

    From the kernel's own record, which starts with the program; `getrusage` counts the parent's memory too.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
