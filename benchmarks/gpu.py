"""What a GPU changes: `python benchmarks/gpu.py [--device cuda] [--out FILE]`.

Sinkhorn divergences stored whole and in pieces, the latter with the fused Triton kernels and without them, batches of
small problems, a GAN's step by loss, and steps of 64 chains; each beside the same work on the CPU. Times are medians
of rounds taken in turn, after a synchronisation, ± the standard error of the ratio. Values on both devices are
compared, so that a wrong kernel shows before a fast one does.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import Timing, machine, timed
from torch import Tensor, nn
from transport_peers import problem

from bayessgd import SWAG, Chains
from gan import GAN, losses, networks
from metrics.transport import sinkhorn_divergence
from metrics.transport.entropic import streaming

CASES = [(256, 64, 0.05), (1000, 64, 0.05), (5000, 2, 0.01), (5000, 64, 0.05), (20_000, 64, 0.05)]
SLOW = 10_000
"""Points from which the CPU is asked once."""


def finished(work: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The work, and all that it has queued on the device."""

    def run() -> object:
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return result

    return run


def divergence(x: Tensor, y: Tensor, eps: float, memory: float) -> tuple[float, Tensor]:
    """Value and gradient for x."""
    x = x.detach().requires_grad_()
    value = sinkhorn_divergence(x, y, eps=eps, memory=memory)
    return float(value.detach()), torch.autograd.grad(value, x)[0]


def unfused(work: Callable[[], object]) -> Callable[[], object]:
    """The work with the streaming pass in its torch form."""

    def run() -> object:
        kept, streaming.fuses = streaming.fuses, lambda x: False
        try:
            return work()
        finally:
            streaming.fuses = kept

    return run


def ratio(one: Timing, other: Timing) -> str:
    """One over other, with its error where there is more than a round."""
    value, stderr = one.over(other)
    return f"{value:.1f} ± {stderr:.1f}" if len(one.rounds) > 1 else f"{value:.1f}"


def transport(device: torch.device, repeats: int, cases: list[tuple[int, int, float]]) -> list[str]:
    """A row per problem."""
    lines = [
        "| n = m | d | ε / mean cost | form | ms | torch form over fused | CPU over it | value, gradient off |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n, d, relative in cases:
        x, y, eps = problem(n, d, relative)
        there = x.to(device), y.to(device)
        rounds = 1 if n >= SLOW else repeats
        for form, memory in (("whole", 2.0**33), ("in pieces", 1.0)):
            work = finished(lambda there=there, eps=eps, m=memory: divergence(*there, eps, m), device)
            # The CPU's own choice of form is what it is to be compared with.
            home = lambda x=x, y=y, eps=eps: divergence(x, y, eps, 2.0**30)  # noqa: E731
            on_gpu, plain, on_cpu = timed(rounds, work, unfused(work), home, warm_up=1)
            (value, force), (want, pull) = divergence(*there, eps, memory), home()
            off = abs(value - want) / abs(want), float((force.cpu() - pull).norm() / pull.norm())
            fused = ratio(plain, on_gpu) if form == "in pieces" else ""
            lines.append(
                f"| {n} | {d} | {relative} | {form} | {1e3 * on_gpu.seconds:.2f} | {fused} | {ratio(on_cpu, on_gpu)} | "
                f"{off[0]:.0e}, {off[1]:.0e} |"
            )
    return lines


def batches(device: torch.device, repeats: int) -> str:
    """32 problems of 64 points at once."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(32, 64, 16, generator=generator) for _ in range(2))
    there = x.to(device), y.to(device) + 0.5
    work = finished(lambda: sinkhorn_divergence(*there), device)
    on_gpu, on_cpu = timed(repeats, work, lambda: sinkhorn_divergence(x, y + 0.5))
    return (
        f"32 problems of 64 × 16 at once: {1e3 * on_gpu.seconds:.2f} ms; CPU over it {ratio(on_cpu, on_gpu)}."
    )


def gan_steps(device: torch.device, repeats: int, steps: int) -> list[str]:
    """Milliseconds of a step by loss."""
    data = problem(2000, 64, 0.05)[0]
    lines = []
    for loss in (losses.NonSaturating(), losses.Wasserstein(), losses.Sinkhorn()):

        def fit(where: str, loss: Any = loss) -> None:
            critic = None if isinstance(loss, losses.Sinkhorn) else networks.mlp_critic(64)
            model = GAN(networks.mlp_generator(64), critic, loss=loss)
            model.fit(data, steps=steps, batch_size=256, progress=False, device=where)

        on_gpu, on_cpu = timed(
            repeats, finished(lambda f=fit: f(str(device)), device), lambda f=fit: f("cpu")
        )
        lines.append(
            f"- {type(loss).__name__}: {1e3 * on_gpu.seconds / steps:.2f} ms; CPU over it {ratio(on_cpu, on_gpu)}"
        )
    return lines


def chain_steps(device: torch.device, repeats: int, steps: int) -> str:
    """64 chains of a small network with SWAG collecting at every tenth step."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(512, 8, generator=generator), torch.randn(512, 1, generator=generator)

    def run(where: torch.device) -> None:
        model = nn.Sequential(nn.Linear(8, 50), nn.ReLU(), nn.Linear(50, 1))
        chains = Chains(model.to(where), 64, seed=0)
        optimizer = torch.optim.SGD(chains.parameters(), lr=0.01)
        SWAG(chains, rank=10).attach(optimizer, every=10)
        u, v = x.to(where), y.to(where)
        for _ in range(steps):
            optimizer.zero_grad()
            (chains(u, shared=True) - v).square().mean((1, 2)).sum().backward()
            optimizer.step()

    on_gpu, on_cpu = timed(repeats, finished(lambda: run(device), device), lambda: run(torch.device("cpu")))
    return (
        f"A step of 64 chains 8-50-1 with SWAG every 10 steps: {1e3 * on_gpu.seconds / steps:.2f} ms; CPU over it "
        f"{ratio(on_cpu, on_gpu)}."
    )


def main(argv: list[str] | None = None) -> int:
    """Run, print and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100, help="steps of training in a round")
    parser.add_argument("--largest", type=int, default=CASES[-1][0], help="leave larger problems out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.md")
    args = parser.parse_args(argv)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu tries the script itself")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    lines = [
        f"{name} beside {machine()}; medians of {args.repeats} rounds.",
        "",
        *transport(device, args.repeats, [case for case in CASES if case[0] <= args.largest]),
        "",
        batches(device, args.repeats),
        "",
        "A step of a GAN, batch 256 in 64 dimensions:",
        "",
        *gan_steps(device, args.repeats, args.steps),
        "",
        chain_steps(device, args.repeats, args.steps),
    ]
    print("\n".join(lines))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
