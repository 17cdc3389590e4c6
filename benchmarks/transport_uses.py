"""What the transport benchmark times beside single problems: training, batches, sliced distances, large clouds."""

import subprocess
import sys
import time
from collections.abc import Callable

import torch
from timing import Timing, peak_memory, timed
from torch import Tensor
from transport_peers import ONLINE, clouds, problem, with_gradient
from workers import Worker

from gan import GAN, losses, networks
from metrics.transport import SinkhornDivergence, sinkhorn_divergence, sliced_wasserstein

__all__ = ["batches", "gan_steps", "sliced", "streamed", "training"]


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
    contenders: list[Callable[[], object]] = [lambda: sliced_wasserstein(x, y, num_projections=1000)]
    try:
        import ot

        contenders.append(lambda: ot.sliced_wasserstein_distance(x, y, n_projections=1000, seed=0))
    except ImportError:
        pass
    times = timed(1, *contenders, warm_up=0)
    told = f"Sliced W₂, 10 000 × 64, 1000 projections: {times[0].seconds:.2f} s"
    return told + (f", POT {times[1].seconds:.2f} s." if len(times) > 1 else ".")


def batches(repeats: int) -> list[str]:
    """Batches of problems, value and gradient: together, one by one, and OTT-JAX under `vmap`."""
    lines = []
    for count, n, d in ((32, 64, 2), (32, 64, 16), (16, 256, 64)):
        generator = torch.Generator().manual_seed(0)
        x, y = (torch.randn(count, n, d, generator=generator) for _ in range(2))
        y = y + 0.5
        eps = 0.05 * float(torch.cdist(x, y).square().mean())
        workers = {"together": Worker(together), "one by one": Worker(one_by_one)}
        try:
            workers["OTT-JAX, `vmap`"] = Worker(mapped)
        except ImportError:
            print("OTT-JAX is not installed", file=sys.stderr)
        rounds: dict[str, list[float]] = {name: [] for name in workers}
        for worker in workers.values():
            worker.ask(x, y, eps)  # compiles
        for _ in range(repeats):
            for name, worker in workers.items():
                rounds[name].append(worker.ask(x, y, eps).seconds)
        for worker in workers.values():
            worker.close()
        times = {name: Timing(kept) for name, kept in rounds.items()}
        for name, taken in times.items():
            ratio, stderr = taken.over(times["together"])
            lines.append(
                f"| {count} of {n} × {d} | {name} | {1e3 * taken.seconds:.1f} | {ratio:.1f} ± {stderr:.1f} |"
            )
    return lines


def together() -> Callable[[Tensor, Tensor, float], object]:
    def solve(x: Tensor, y: Tensor, eps: float) -> object:
        x = x.requires_grad_()
        return torch.autograd.grad(sinkhorn_divergence(x, y, eps=eps).sum(), x)[0]

    return solve


def one_by_one() -> Callable[[Tensor, Tensor, float], object]:
    solver = with_gradient(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps))

    def solve(x: Tensor, y: Tensor, eps: float) -> object:
        return [solver(u, v, eps)[1] for u, v in zip(x, y, strict=True)]

    return solve


def mapped() -> Callable[[Tensor, Tensor, float], object]:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from ott.tools import sinkhorn_divergence as module

    def divergence(x: object, y: object, eps: object) -> object:
        return module.sinkdiv(x, y, epsilon=eps, solve_kwargs={"threshold": 1e-3})[0]

    compiled = jax.jit(jax.vmap(jax.value_and_grad(divergence), (0, 0, None)))

    def solve(x: Tensor, y: Tensor, eps: float) -> object:
        return np.array(compiled(jnp.asarray(x.detach().numpy()), jnp.asarray(y.numpy()), eps)[1])

    return solve


def streamed() -> list[str]:
    """50 000 points against 50 000 with its memory, and 5000 in pieces beside geomloss' online form, once each."""
    n, d, relative = 50_000, 64, 0.05
    done = subprocess.run(
        [sys.executable, __file__, str(n), str(d), str(relative)], capture_output=True, text=True, check=True
    )
    seconds, before, peak = (float(v) for v in done.stdout.split())
    lines = [
        f"In pieces, {n} × {n} × {d}, ε / mean cost {relative}, value and gradient: {seconds:.0f} s; the process holds "
        f"{peak:.0f} MiB at its peak, {peak - before:.0f} MiB above what it held before."
    ]
    x, y, eps = problem(5000, d, relative)
    here = with_gradient(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps, memory=1))
    truth = with_gradient(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps, tol=1e-9))
    (own,) = timed(3, lambda: here(x, y, eps))
    best = truth(x.double(), y.double(), eps)[1]
    told = f"5000 × 5000 × {d} in pieces: ours {own.seconds:.2f} s, gradient error {_off(here(x, y, eps)[1], best):.0e}"
    try:
        worker = Worker(ONLINE)
        worker.ask(*problem(200, d, relative))  # compiles
        answer = worker.ask(x, y, eps)
        worker.close()
        wrong = _off(answer.result[1], best)
        told += f"; geomloss `online`, scaling .5: {answer.seconds:.0f} s, gradient error {wrong:.0e}"
    except ImportError:
        print("geomloss or pykeops is not installed", file=sys.stderr)
    return [*lines, "", told + "."]


def _off(gradient: Tensor, best: Tensor) -> float:
    return float((gradient.double() - best).norm() / best.norm())


def alone(n: int, d: int, relative: float) -> None:
    """Print seconds, and MiB before and at the peak, of one problem in pieces."""
    solver = with_gradient(lambda x, y, eps: sinkhorn_divergence(x, y, eps=eps))
    x, y, eps = problem(n, d, relative)
    solver(x[:64], y[:64], eps)
    before = peak_memory()
    start = time.perf_counter()
    solver(x, y, eps)
    print(time.perf_counter() - start, before, peak_memory())


if __name__ == "__main__":
    alone(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
