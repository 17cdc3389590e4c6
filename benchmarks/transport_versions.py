"""Two versions of the Sinkhorn divergence in one process, in turn: `python benchmarks/transport_versions.py FOLDER`.

FOLDER holds the other version as a package `old_transport`: a copy of an earlier `metrics/transport` in which
`metrics.transport` is replaced by `old_transport`. With one thread the clock is that of the thread, so that a busy
machine disturbs less. Value and gradient for x in float32, between a mixture of Gaussians
and a Gaussian of other widths. The ratio is the median over rounds of old over new, with its standard error.
"""

import argparse
import importlib
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from timing import machine, timed
from torch import Tensor

from metrics.transport import sinkhorn_divergence

CASES = [
    (256, 32, 0.03, 60),
    (256, 64, 0.05, 60),
    (256, 2, 0.01, 40),
    (1000, 16, 0.03, 9),
    (1500, 3, 0.02, 5),
    (2000, 64, 0.05, 7),
]
"""Points, dimensions, ε over the mean cost, rounds."""


def clouds(n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four Gaussians of widths 0.4 to 0.8, against one whose widths go from ½ to 1½."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, d, generator=generator)
    which = torch.randint(4, (n,), generator=generator)
    x = centres[which] + (0.4 + 0.1 * which[:, None]) * torch.randn(n, d, generator=generator)
    return x, 0.3 + torch.linspace(0.5, 1.5, d) * torch.randn(n, d, generator=generator)


def work(
    function: Callable[..., Tensor], problems: list[tuple[Tensor, Tensor, float]]
) -> Callable[[], object]:
    """Value and gradient of several problems."""

    def run() -> list[tuple[Tensor, Tensor]]:
        found = []
        for x, y, eps in problems:
            x = x.detach().requires_grad_()
            value = function(x, y, eps=eps)
            found.append((value.detach(), torch.autograd.grad(value, x)[0]))
        return found

    return run


def main(argv: list[str] | None = None) -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", type=int, help="the cases of this n")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    sys.path.append(str(args.folder))
    old = importlib.import_module("old_transport").sinkhorn_divergence
    print(f"{machine()}; medians of rounds in turn\n")
    print(
        "| n = m | d | ε / mean cost | old, ms | new, ms | old over new | error of the gradient, old | new |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for n, d, relative, rounds in CASES:
        if args.only not in (None, n):
            continue
        problems = []
        for seed in range(3 if n < 1000 else 1):
            x, y = clouds(n, d, seed)
            mean_cost = float(torch.cdist(x.double(), y.double()).square().mean())
            problems.append((x, y, relative * mean_cost))
        clock = time.thread_time if args.threads == 1 else time.perf_counter
        before, after = timed(rounds, work(old, problems), work(sinkhorn_divergence, problems), clock=clock)
        exact = [(x.double(), y.double(), eps) for x, y, eps in problems]
        truth = work(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps, tol=1e-8), exact)()
        off = [
            max(float((g - t).norm() / t.norm()) for (_, g), (_, t) in zip(found, truth, strict=True))  # pyright: ignore[reportArgumentType]
            for found in (work(old, problems)(), work(sinkhorn_divergence, problems)())
        ]
        ratio, stderr = before.over(after)
        each = 1e3 / len(problems)
        print(
            f"| {n} | {d} | {relative} | {each * before.seconds:.2f} | {each * after.seconds:.2f} | "
            f"{ratio:.2f} ± {stderr:.2f} | {off[0]:.0e} | {off[1]:.0e} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
