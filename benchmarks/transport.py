"""Optimal transport beside its peers: time, error of value and gradient, memory.

    python benchmarks/transport.py [--only 256] [--large] [--repeats 7] [--out benchmarks/results]

The Sinkhorn divergence with its gradient for x, between anisotropic Gaussian clouds in float32, cost ‖x − y‖², against
OTT-JAX, geomloss and POT where they are installed, each in a process of its own; errors against a float64 solution
converged to 1e-9. Then a training loop with and without warm starts, a GAN's step, sliced distances; with `--large`,
5000 points and a streamed problem of 50 000 against 50 000. Writes `transport.md`. About 8 minutes on two cores.
"""

import argparse
import math
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

# A script's own folder comes first on the path, where `metrics.py` would hide the package: to the end.
sys.path.sort(key=lambda entry: Path(entry or ".").resolve() == Path(__file__).resolve().parent)

import torch
from timing import Timing, machine, timed
from torch import Tensor
from workers import Answer, Worker

from gan import GAN, losses, networks
from metrics.transport import SinkhornDivergence, sinkhorn_divergence, sliced_wasserstein

Solver = Callable[[Tensor, Tensor, float], tuple[float, Tensor]]

CASES = [
    (256, 2, 0.05),
    (256, 64, 0.05),
    (256, 64, 0.01),
    (1000, 2, 0.01),
    (1000, 64, 0.05),
    (2000, 2, 0.01),
    (2000, 64, 0.05),
]
LARGE = [(5000, 2, 0.01), (5000, 64, 0.05)]
PATIENCE = 4.0
"""Seconds that a call may take; a peer that needs longer is left out of larger problems."""

BUDGET = 6.0
"""Seconds that the repeats of a contender may take together."""


def clouds(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two Gaussians with standard deviations from ½ to 1½, in opposite order, a little apart."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 1.5, d)
    x, y = (torch.randn(n, d, generator=generator) for _ in range(2))
    return scale * x, scale.flip(0) * y + 0.5 / math.sqrt(d)


def with_gradient(function: Callable[[Tensor, Tensor, float], Tensor]) -> Solver:
    def solver(x: Tensor, y: Tensor, eps: float) -> tuple[float, Tensor]:
        x = x.detach().requires_grad_()
        value = function(x, y, eps)
        (gradient,) = torch.autograd.grad(value, x)
        return float(value.detach()), gradient

    return solver


def ours() -> Solver:
    return with_gradient(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps))


def ott() -> Solver:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from ott.tools import sinkhorn_divergence as module

    def divergence(x: object, y: object, eps: object) -> object:
        return module.sinkdiv(x, y, epsilon=eps, solve_kwargs={"threshold": 1e-3})[0]

    compiled = jax.jit(jax.value_and_grad(divergence))

    def solver(x: Tensor, y: Tensor, eps: float) -> tuple[float, Tensor]:
        value, gradient = compiled(jnp.asarray(x.numpy()), jnp.asarray(y.numpy()), eps)
        return float(value), torch.from_numpy(np.array(gradient))

    return solver


def geomloss(scaling: float) -> Solver:
    from geomloss import SamplesLoss

    def divergence(x: Tensor, y: Tensor, eps: float) -> Tensor:
        # Its cost is ½‖x − y‖², and its ε the square of the blur.
        return 2 * SamplesLoss("sinkhorn", p=2, blur=(eps / 2) ** 0.5, scaling=scaling, backend="tensorized")(
            x, y
        )

    return with_gradient(divergence)


def pot() -> Solver:
    import ot

    def divergence(x: Tensor, y: Tensor, eps: float) -> Tensor:
        def cost(u: Tensor, v: Tensor) -> Tensor:
            m = torch.cdist(u, v).square()
            return ot.solve(m, reg=eps, reg_type="KL", grad="envelope", max_iter=2000, tol=1e-4).value

        return cost(x, y) - cost(x, x) / 2 - cost(y, y) / 2

    return with_gradient(divergence)


CONTENDERS: dict[str, Callable[[], Solver]] = {
    "ours": ours,
    "OTT-JAX (1e-3)": ott,
    "geomloss .9": partial(geomloss, 0.9),
    "geomloss .5": partial(geomloss, 0.5),
    "POT `ot.solve`": pot,
}


def installed() -> dict[str, Worker]:
    """A process for each contender whose library is here."""
    found = {}
    for name, make in CONTENDERS.items():
        try:
            found[name] = Worker(make)
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)
    return found


def problem(n: int, d: int, relative: float) -> tuple[Tensor, Tensor, float]:
    x, y = clouds(n, d)
    mean_cost = (x.double() - y.double().mean(0)).square().sum(1).mean() + y.double().var(
        0, correction=0
    ).sum()
    return x, y, relative * float(mean_cost)


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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    solver(x, y, eps)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def training(repeats: int) -> list[str]:
    """A generator's samples, one Adam step after the other, cold and warm; and a GAN's step by loss."""
    lines = []
    for n, d in ((256, 64), (1000, 64)):
        target = clouds(n, d)[1]

        def steps(
            loss: Callable[[Tensor, Tensor], Tensor], n: int = n, d: int = d, y: Tensor = target
        ) -> None:
            generator = torch.Generator().manual_seed(1)
            matrix = torch.eye(d, requires_grad=True)
            adam = torch.optim.Adam([matrix], lr=1e-2)
            for _ in range(20):
                adam.zero_grad()
                loss(torch.randn(n, d, generator=generator) @ matrix, y).backward()
                adam.step()

        warm = SinkhornDivergence()
        cold_time, warm_time = timed(
            repeats, lambda steps=steps: steps(sinkhorn_divergence), lambda steps=steps, w=warm: steps(w)
        )
        ratio, stderr = cold_time.over(warm_time)
        lines.append(
            f"| {n} × {d}, 20 Adam steps | {50 * cold_time.seconds:.2f} | {50 * warm_time.seconds:.2f} | "
            f"{ratio:.2f} ± {stderr:.2f} |"
        )
    return lines


def gan_steps(repeats: int) -> str:
    """Seconds of a step by the Sinkhorn loss over one by the non-saturating loss, batch 256."""
    data = clouds(2000, 64)[0]

    def fit(model: GAN) -> None:
        model.fit(data, steps=50, batch_size=256, progress=False, device="cpu")

    score, sample = timed(
        repeats,
        lambda: fit(GAN(networks.mlp_generator(64), networks.mlp_critic(64), loss=losses.NonSaturating())),
        lambda: fit(GAN(networks.mlp_generator(64), loss=losses.Sinkhorn())),
    )
    ratio, stderr = sample.over(score)
    return (
        f"A step of a GAN with batch 256 takes {20 * score.seconds:.2f} ms with the non-saturating loss and "
        f"{20 * sample.seconds:.2f} ms with the Sinkhorn loss: {ratio:.2f} ± {stderr:.2f} times as long."
    )


def sliced() -> str:
    """10 000 points against 10 000 in 64 dimensions, 1000 projections, once each."""
    x, y = clouds(10_000, 64)
    contenders = [lambda: sliced_wasserstein(x, y, num_projections=1000)]
    try:
        import ot

        contenders.append(lambda: ot.sliced_wasserstein_distance(x, y, n_projections=1000, seed=0))
    except ImportError:
        pass
    times = timed(1, *contenders, warm_up=0)
    told = f"Sliced W₂, 10 000 × 64, 1000 projections: {times[0].seconds:.2f} s"
    return told + (f", POT {times[1].seconds:.2f} s." if len(times) > 1 else ".")


def streamed(n: int = 50_000, d: int = 64, relative: float = 0.05) -> str:
    """One streamed problem, with its peak memory in a process of its own."""
    x, y, eps = problem(n, d, relative)
    (once,) = timed(1, lambda: ours()(x, y, eps), warm_up=0)
    return (
        f"Streamed, {n} × {n} × {d}, ε/mean cost {relative}: {once.seconds:.0f} s, "
        f"{peak('ours', (n, d, relative)):.0f} MiB at its peak."
    )


def main(argv: list[str] | None = None) -> int:
    """Run, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
        f"Sinkhorn divergence and its gradient for x, float32, medians in turn; {machine()}; ratio ± standard error.",
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
    if args.large:
        lines += ["", streamed()]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "transport.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
