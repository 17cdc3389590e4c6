"""Optimal transport beside its peers: time, error of value and gradient, memory.

    python benchmarks/transport.py [--only 256] [--large] [--repeats 7] [--out benchmarks/results]

The Sinkhorn divergence with its gradient for x, between anisotropic Gaussian clouds in float32, cost ‖x − y‖², against
OTT-JAX, geomloss and POT where they are installed, each in a process of its own; errors against a float64 solution
converged to 1e-9. Then a training loop with and without warm starts, a GAN's step, sliced distances, batches; with
`--large`, 5000 points and a problem of 50 000 against 50 000 in pieces. Writes `transport.md`. About 10 minutes on two
cores, with `--large` 25.
"""

import argparse
import math
import subprocess
import sys
import warnings
from pathlib import Path

from timing import Timing, machine, peak_memory
from torch import Tensor
from transport_peers import CONTENDERS, installed, problem, with_gradient
from transport_uses import batches, gan_steps, sliced, streamed, training
from workers import Answer, Worker

from metrics.transport import sinkhorn_divergence

CASES = [
    (256, 2, 0.05),
    (256, 64, 0.05),
    (256, 64, 0.01),
    (1000, 2, 0.01),
    (1000, 64, 0.05),
    (2000, 2, 0.01),
    (2000, 64, 0.05),
]
LARGE = [(5000, 64, 0.05), (5000, 2, 0.01)]
PATIENCE = 8.0
"""Seconds that a call may take; a peer that needs longer is left out of larger problems."""

BUDGET = 6.0
"""Seconds that the repeats of a contender may take together."""


def compare(case: tuple[int, int, float], workers: dict[str, Worker], repeats: int) -> list[str]:
    """A row for each contender; those that lose patience are taken out of `workers`."""
    x, y, eps = problem(*case)
    truth = with_gradient(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps, tol=1e-9))
    best = truth(x.double(), y.double(), eps)
    answers: dict[str, list[Answer]] = {}
    for name, worker in workers.items():
        worker.ask(x, y, eps)  # compiles
        answers[name] = [worker.ask(x, y, eps)]
    for round in range(1, repeats):
        for name, worker in workers.items():
            if name == "ours" or (round + 1) * answers[name][0].seconds <= BUDGET:
                answers[name].append(worker.ask(x, y, eps))
    for name, (first, *_) in answers.items():
        if name != "ours" and first.seconds > PATIENCE:
            workers.pop(name).close()
    times = {name: Timing([answer.seconds for answer in kept]) for name, kept in answers.items()}
    return [_row(case, name, times[name], times["ours"], answers[name][0], best) for name in times]


def _row(
    case: tuple[int, int, float],
    name: str,
    time: Timing,
    own: Timing,
    answer: Answer,
    best: tuple[float, Tensor],
) -> str:
    """A line of the table; a contender that was asked in some rounds only is compared in those."""
    value, gradient = answer.result
    wrong_value = abs(value - best[0]) / abs(best[0])
    wrong_gradient = float((gradient.double() - best[1]).norm() / best[1].norm())
    ratio, stderr = time.over(Timing(own.rounds[: len(time.rounds)]))
    spread = f" ± {stderr:.1f}" if len(time.rounds) > 1 else ", once"
    against = "1" if name == "ours" else f"{ratio:.1f}{spread}"
    n, d, relative = case
    return (
        f"| {n} | {d} | {relative} | {name} | {1e3 * time.seconds:.1f} | {against} | {wrong_value:.0e} | "
        f"{wrong_gradient:.0e} |"
    )


def peak(name: str, case: tuple[int, int, float]) -> float:
    """MiB that a process holds at its peak beyond what it held before the problem."""
    arguments = [sys.executable, __file__, "--peak", name, *(str(v) for v in case)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else math.nan


def measure_peak(name: str, n: int, d: int, relative: float) -> None:
    solver = CONTENDERS[name]()
    small, (x, y, eps) = problem(64, d, relative), problem(n, d, relative)
    solver(*small)
    before = peak_memory()
    solver(x, y, eps)
    print(peak_memory() - before)


def main(argv: list[str] | None = None) -> int:
    """Run, print and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=int, help="the cases of this n, printed and not written")
    parser.add_argument("--large", action="store_true", help="5000 points, and 50 000 in pieces")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--peak", nargs=4, metavar=("NAME", "N", "D", "EPS"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    if args.peak:
        name, n, d, relative = args.peak
        measure_peak(name, int(n), int(d), float(relative))
        return 0
    workers = installed()
    names = list(workers)
    lines = [
        f"Sinkhorn divergence and its gradient for x, float32; {machine()}; medians of {args.repeats} rounds in turn, "
        f"of as many as {BUDGET:.0f} s allow for slow calls; ratio ± standard error.",
        "",
        "| n = m | d | ε / mean cost | program | ms | over ours | error of the value | of the gradient |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES + (LARGE if args.large else []):
        if args.only not in (None, case[0]):
            continue
        rows = compare(case, workers, args.repeats)
        print("\n".join(rows), flush=True)
        lines += rows
    for worker in workers.values():
        worker.close()
    if args.only is not None:
        return 0
    lines += ["", "Memory beyond what was held before, 2000 × 64, ε / mean cost 0.05:", ""]
    lines += [f"- {name}: {peak(name, (2000, 64, 0.05)):.0f} MiB" for name in names]
    lines += ["", "| training | cold, ms a step | warm, ms a step | cold over warm |", "|---|---|---|---|"]
    lines += [*training(args.repeats), "", gan_steps(args.repeats), "", sliced()]
    lines += [
        "",
        "| batch of problems | solved | ms | over together |",
        "|---|---|---|---|",
        *batches(args.repeats),
    ]
    if args.large:
        lines += ["", *streamed()]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "transport.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
