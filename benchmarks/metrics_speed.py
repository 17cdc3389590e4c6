"""Each measure beside its best peers: time, peak memory and the difference of the values.

    python benchmarks/metrics_speed.py [--threads 2] [--only NAME …] [--large] [--out benchmarks/results/metrics.md]

Contenders are timed in turn, round after round, on the same tensors in one process. Their memory is taken in a fresh
process each: the peak of the resident memory during one call, less what was resident before it. Peers that are not
installed (`pip install -e '.[bench]'`) get a row that says so; `metrics_cases.py` has the inputs and
`metrics_peers.py` what is called of the peers. `--large` adds two clouds of 50 000 points, ours alone: minutes.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from metrics_cases import CASES, LARGE, Case, Peer
from threadpoolctl import threadpool_limits
from timing import machine, timed

RESULTS = Path(__file__).parent / "results" / "metrics.md"
HEADER = (
    "| measure | size | peer | ours, ms | peer, ms | peer / ours | bound | memory ours / peer, MiB | difference |",
    "|---|---|---|---|---|---|---|---|---|",
)


SLIP = 0.8
"""Of a ratio: below it a row has slipped."""

ROUNDS = (
    "medians of 9 rounds taken in turn, of 3 or 1 where a call takes seconds; ratios ± their standard error"
)


def rows(case: Case) -> list[str]:
    """Return a line of the table for each peer of a case."""
    inputs, values = case.inputs(), {}
    missing = {str(at): peer.missing() for at, peer in enumerate(case.peers)}
    present = ["ours", *(name for name, error in missing.items() if not error)]

    def keeping(contender: str) -> Callable[[], None]:
        def run() -> None:
            values[contender] = case.call(contender)(*inputs)

        return run

    timings = timed(case.repeats, *map(keeping, present), warm_up=case.warm_up)
    times = dict(zip(present, timings, strict=True))
    with ThreadPoolExecutor(2) as pool:
        memory = dict(zip(present, pool.map(lambda name: _apart(case, name)["MiB"], present), strict=True))
    lines = []
    for name, peer in zip(missing, case.peers, strict=True):
        cells = [f"`{case.measure}`", case.size, _named(peer), f"{1e3 * times['ours'].seconds:.3g}"]
        if missing[name]:
            cells += [f"not installed ({missing[name]})", "", peer.bound]
            lines.append(_line([*cells, f"{memory['ours']:.0f} /", ""]))
            continue
        ratio, stderr = times[name].over(times["ours"])
        gap = max(abs(a - b) / abs(b) for a, b in zip(values["ours"], values[name], strict=True))
        cells += [f"{1e3 * times[name].seconds:.3g}", f"**{ratio:.3g}** ± {stderr:.1g}", peer.bound]
        lines.append(_line([*cells, f"{memory['ours']:.0f} / {memory[name]:.0f}", f"{gap:.1g}"]))
    return lines


def large_row(case: Case) -> str:
    """Return the line of a case that ours runs alone, once, in a process of its own."""
    measured = _apart(case, "ours")
    memory = f"{measured['MiB']:.0f} of 2048"
    cells = [f"`{case.measure}`", case.size, "", f"{1e3 * measured['seconds']:.3g}", "", "", "", memory, ""]
    return _line(cells)


def _named(peer: Peer) -> str:
    try:
        name = f"{peer.name} {version(peer.name)}"
    except PackageNotFoundError:
        name = peer.name
    return f"{name}, {peer.note}" if peer.note else name


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _apart(case: Case, contender: str) -> dict[str, float]:
    """Seconds and peak memory of one call in a process of its own."""
    at = (CASES + LARGE).index(case)
    threads = str(torch.get_num_threads())
    command = [sys.executable, __file__, "--apart", str(at), contender, "--threads", threads]
    # After a warm-up freed memory goes back at once, so that none of it is reused unseen.
    frugal = (
        {} if case.warm_up == 0 else {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    )
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | frugal)
    return json.loads(found.stdout)


def measure_apart(at: int, contender: str) -> None:
    """Run one call, its packages loaded, and print what it took."""
    case = (CASES + LARGE)[at]
    call, inputs = case.call(contender), case.inputs()
    if contender != "ours":
        case.peers[int(contender)].missing()
    for _ in range(case.warm_up):
        call(*inputs)  # what packages load and compile is not the call's
    reset = Path("/proc/self/clear_refs")
    reset.write_text("5")
    before = _resident("VmRSS")
    seconds = timed(1, lambda: call(*inputs), warm_up=0)[0].seconds
    print(json.dumps({"seconds": seconds, "MiB": max(0.0, (_resident("VmHWM") - before) / 1024)}))


def _resident(field: str) -> int:
    """Resident memory in KiB, now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def slipped(before: str, now: str) -> list[str]:
    """Rows whose ratio to a peer is below `SLIP` of what it was, by more than its two standard errors."""
    old, new = _ratios(before), _ratios(now)
    return [
        f"{' '.join(row)}: {new[row][0]:.3g} ± {new[row][1]:.1g}, was {old[row][0]:.3g}"
        for row in old.keys() & new.keys()
        if new[row][0] + 2 * new[row][1] < SLIP * old[row][0]
    ]


def _ratios(table: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """Ratio and its standard error by measure, size and the peer's name without its version."""
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        match = re.match(r"\*\*(\S+)\*\* ± (\S+)", cells[5]) if len(cells) > 5 else None
        if match:
            peer = re.sub(r" [0-9][0-9.]*", "", cells[2])
            found[cells[0], cells[1], peer] = (float(match[1]), float(match[2]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="measures whose names contain one of these; writes no file")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--against", type=Path, help="a table of before: fail where a ratio fell by 20 %% or more"
    )
    parser.add_argument("--apart", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    if arguments.apart:
        measure_apart(int(arguments.apart[0]), arguments.apart[1])
        return

    def wanted(case: Case) -> bool:
        return arguments.only is None or any(part in case.measure for part in arguments.only)

    lines = [f"{machine()}; {ROUNDS}", "", *HEADER]
    print("\n".join(lines), flush=True)
    for case in filter(wanted, CASES):
        for line in rows(case):
            lines.append(line)
            print(line, flush=True)
    for case in filter(wanted, LARGE if arguments.large else ()):
        lines.append(large_row(case))
        print(lines[-1], flush=True)
    if arguments.only is None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("\n".join(lines) + "\n")
    if arguments.against is not None:
        fallen = slipped(arguments.against.read_text(), "\n".join(lines))
        sys.exit("\n".join(fallen) if fallen else 0)


if __name__ == "__main__":
    main()
