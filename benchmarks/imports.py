"""What an import costs: processor time of `import torch` and of each package after it, in processes of their own.

    python benchmarks/imports.py [--repeats 9]

Bound: at most 1.25 × `import torch` each. Contenders take turns, so that a busy machine is busy for all; the first
round only fills the caches.
"""

import argparse
import os
import statistics
import subprocess
import sys

CONTENDERS = ("torch", "metrics", "gan", "bayessgd")


def processor_seconds(package: str) -> float:
    """User and system time of a fresh interpreter that imports torch and a package."""
    before = os.times()
    subprocess.run([sys.executable, "-c", f"import torch, {package}"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Print one row a package."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    rounds = [{name: processor_seconds(name) for name in CONTENDERS} for _ in range(repeats + 1)][1:]
    print(
        "| import | processor seconds (median) | over `import torch` (median, least, most) |\n|---|---|---|"
    )
    for name in CONTENDERS:
        ratios = sorted(each[name] / each["torch"] for each in rounds)
        seconds = statistics.median(each[name] for each in rounds)
        print(
            f"| {name} | {seconds:.2f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f}) |"
        )


if __name__ == "__main__":
    main()
