"""Measures of generators beside their peers on the same clouds: both values, times, and what a difference comes from.

    python benchmarks/metrics_values.py [--only NAME …] [--tables 0 1 …] [--out benchmarks/results/metrics_peers.md]

Every contender gets the same float32 tensors, one thread, in turn; `metrics_speed.py` has more sizes, and memory. Of a
package the arithmetic behind its network is called; `metrics_values_rows.py` has the clouds and the reasons. Where
chance enters, a difference is also told in its standard error: √2 times the spread of ours over ten seeds. Peers are
those of `pip install -e '.[bench]'`; torch-fidelity's MIND and the authors' MMDAgg are in no package index:
`pip install --no-deps git+https://github.com/toshas/torch-fidelity git+https://github.com/antoninschrab/mmdagg`.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from metrics_cases import Peer
from metrics_peers import Numbers
from metrics_values_rows import TABLES, Measured
from peer_imports import without_compiled_torchvision
from threadpoolctl import threadpool_limits
from timing import Timing, machine, timed
from torch import Tensor

from metrics import files

RESULTS = Path(__file__).parent / "results" / "metrics_peers.md"
HEADER = (
    "| measure | peer | its value | ours | difference | its time, s | ours, s | its / ours | why they differ |",
    "|---|---|---|---|---|---|---|---|---|",
)
TOLD = (
    "Processor seconds of one thread, medians of three rounds in turn, on two cores that were busy with other "
    "work: read the ratios. Inputs are float32: x normal, y 1.1 × normal + 0.1. A difference is relative, of a random "
    "number also in standard errors (s.e.) of it; without a reason it is rounding: ours come back in float32."
)
LEFT_OUT = (
    "torch-fidelity's MIND is its repository's of May 2026 (5e211a9), which calls itself 0.4.0; the package 0.4.0 has "
    "none. mmdagg is its repository's of May 2024 (baca0a9), the NumPy version. torchmetrics' MIFID, a Fréchet "
    "distance over the mean cosine distance to the nearest point, has no counterpart here."
)
ROUNDS, SEEDS = 3, 10


def rows(measured: Measured, inputs: tuple[Tensor, ...]) -> list[str]:
    """Return a line of the table for each number of each peer."""
    values: dict[int, Numbers | str] = {}

    def keeping(at: int, call: Callable[..., Numbers]) -> Callable[[], None]:
        def run() -> None:
            try:
                values[at] = call(*inputs)
            except Exception as error:  # a peer's failure is its row
                values[at] = f"{type(error).__name__}: {error}"[:80].replace("|", "¦").replace("\n", " ")

        return run

    calls = [measured.ours, *(peer.call for peer in measured.peers)]
    times = timed(
        ROUNDS, *(keeping(at, call) for at, call in enumerate(calls)), warm_up=0, clock=time.process_time
    )
    ours, errors = values[0], chances(measured, inputs)
    if isinstance(ours, str):
        raise RuntimeError(f"{measured.names}: {ours}")
    return [
        line
        for at, peer in enumerate(measured.peers, 1)
        for line in _lines(measured.names, peer, ours, values[at], errors, times[at], times[0])
    ]


def chances(measured: Measured, inputs: tuple[Tensor, ...]) -> list[float]:
    """Standard errors of the differences that come of chance, 0 for what has none."""
    if not measured.random:
        return [0.0] * len(measured.names)
    again = [measured.ours(*inputs, seed=seed) for seed in range(1, SEEDS + 1)]
    return [2**0.5 * statistics.stdev(numbers) for numbers in zip(*again, strict=True)]


def _lines(
    names: tuple[str, ...],
    peer: Peer,
    ours: Numbers,
    theirs: Numbers | str,
    errors: list[float],
    its_time: Timing,
    our_time: Timing,
) -> list[str]:
    if isinstance(theirs, str):
        cells = [", ".join(names), named(peer), theirs, *[""] * 6]
        return [f"| {' | '.join(cells)} |"]
    found = []
    for k, (name, its, own, error) in enumerate(zip(names, theirs, ours, errors, strict=True)):
        cells = [name, named(peer), f"{its:.7g}", f"{own:.7g}", difference(its, own, error)]
        ratio = its_time.over(our_time)[0]
        cells += (
            [f"{its_time.seconds:.3g}", f"{our_time.seconds:.3g}", f"**{ratio:.3g}**", peer.note]
            if k == 0
            else ["", "", "", ""]
        )
        found.append(f"| {' | '.join(cells)} |")
    return found


def difference(theirs: float, ours: float, error: float) -> str:
    """Relative, absolute where ours is 0; with the number of standard errors where chance enters.

    >>> difference(1.02, 1.0, 0.01), difference(1e-9, 0.0, 0.0), difference(2.0, 2.0, 0.0)
    ('+0.02, 2.0 s.e.', '+1e-09 absolute', '0')
    """
    gap = theirs - ours
    if gap == 0:
        return "0"
    told = f"{gap / abs(ours):+.1g}" if ours else f"{gap:+.1g} absolute"
    return f"{told}, {abs(gap) / error:.1f} s.e." if error > 0 else told


def named(peer: Peer) -> str:
    """Return its name and version."""
    try:
        return f"{peer.name} {version(peer.name)}"
    except PackageNotFoundError:
        return f"{peer.name}, not installed"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="measures whose names contain one of these; writes no file")
    parser.add_argument("--tables", nargs="+", type=int, help="these alone, counted from 0; writes no file")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    without_compiled_torchvision()
    torch.set_num_threads(1)
    threadpool_limits(1)
    torch.manual_seed(0)  # torchmetrics draws from torch's global generator
    lines = [f"{TOLD} {machine()}."]
    print(lines[0], flush=True)
    for at, table in enumerate(TABLES):
        wanted = [
            m for m in table.measured if not arguments.only or any(o in m.names[0] for o in arguments.only)
        ]
        if not wanted or (arguments.tables and at not in arguments.tables):
            continue
        lines += ["", f"## {table.title}", "", *HEADER]
        print("\n".join(lines[-5:]), flush=True)
        inputs = table.inputs()
        for measured in wanted:
            for peer in measured.peers:
                peer.missing()  # what it imports is not the call's
            found = rows(measured, inputs)
            lines += found
            print("\n".join(found), flush=True)
    lines += ["", LEFT_OUT]
    if not (arguments.only or arguments.tables):
        files.write_text(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
