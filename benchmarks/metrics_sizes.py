"""What `metrics.evaluate` takes as the clouds grow: processor time and memory over n, for the standard measures.

    python benchmarks/metrics_sizes.py [--sizes 1000 3000 10000 30000 50000] [--columns 64] [--out benchmarks/results]

Two clouds of n points in float32, N(0, I) and the same moved by 0.1 and narrowed to 0.9 in every column, one floor
less: values, errors and 199 permutations. Each group of measures runs in a process of its own, whose processor time and
peak memory are the row's; the interpreter and torch are 0.23 GiB of it. What has been measured is kept
in metrics_sizes.json and not measured again, so that a long table can be stopped and gone on with.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from timing import machine, peak_memory
from tqdm import tqdm

import metrics
from metrics import files

GROUPS = {
    "W₂ (3000 points)": ["wasserstein"],
    "Sinkhorn (10 000 points)": ["sinkhorn_divergence"],
    "sliced W₂": ["sliced_wasserstein"],
    "MMD², energy": ["mmd2", "energy_distance"],
    "Fréchet": ["frechet_distance"],
    "precision … coverage": ["precision"],
    "1-NN": ["nn_accuracy"],
}


def clouds(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The two clouds."""
    random = torch.Generator().manual_seed(0)
    x = 0.9 * torch.randn(n, d, generator=random) + 0.1
    return x, torch.randn(n, d, generator=random)


def child(n: int, d: int, group: str) -> None:
    """Measure one group here and print what it took as JSON."""
    torch.set_num_threads(1)
    x, y = clouds(n, d)
    chosen = [m for m in metrics.standard_measures() if m.rows[0].name in GROUPS[group]]
    metrics.evaluate(x[:100], y[:100], measures=chosen, progress=False)  # imports
    start = time.process_time()
    report = metrics.evaluate(x, y, measures=chosen, progress=False)
    took = time.process_time() - start
    values = {name: [e.value, e.stderr, e.p_value] for name, e in report.estimates.items()}
    print(json.dumps({"seconds": took, "GiB": peak_memory() / 1024, "values": values}))


def table(found: dict[str, dict[str, object]], sizes: list[int], d: int) -> str:
    """A row per group, a column per size; whatever has been measured."""
    head = ["measures", *(f"n = {n}" for n in sizes)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    rows = {group: [found.get(f"{n} {d} {group}") for n in sizes] for group in GROUPS}
    for group, cells in rows.items():
        told = [f"{c['seconds']:.3g} s, {c['GiB']:.2f}" if c else "—" for c in cells]
        lines.append(f"| {group} | {' | '.join(told)} |")
    totals = []
    for column in zip(*rows.values(), strict=True):
        whole = [c for c in column if c]
        done = len(whole) == len(GROUPS)
        seconds, most = (
            sum(float(c["seconds"]) for c in whole),
            max((float(c["GiB"]) for c in whole), default=0),
        )
        totals.append(f"**{seconds:.3g} s, {most:.2f}**" if done else "—")
    lines.append(f"| all, largest peak | {' | '.join(totals)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000, 50_000])
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        child(int(args.child[0]), int(args.child[1]), args.child[2])
        return 0
    kept = args.out / "metrics_sizes.json"
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    wanted = [(n, group) for n in args.sizes for group in args.groups]
    for n, group in tqdm(wanted, disable=None):
        key = f"{n} {args.columns} {group}"
        if key not in found:
            asked = [sys.executable, __file__, "--child", str(n), str(args.columns), group]
            done = subprocess.run(asked, capture_output=True, text=True, check=True)
            found[key] = json.loads(done.stdout.splitlines()[-1])
            files.write_text(kept, json.dumps(found, indent=1) + "\n")
    torch.set_num_threads(1)
    told = [
        f"`metrics.evaluate`, n points against n of {args.columns} columns, float32: processor seconds of one thread "
        f"with errors and 199 permutations, and the process's peak memory in GiB; {machine()}.",
        "",
        table(found, args.sizes, args.columns),
    ]
    print("\n".join(told))
    files.write_text(args.out / f"metrics_sizes_{args.columns}.md", "\n".join(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
