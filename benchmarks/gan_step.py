"""What a step of `GAN.fit` costs beside a bare hand-written loop of the same networks, penalties and optimizers.

    python benchmarks/gan_step.py [--steps 300] [--rounds 7] [--threads 1]

Both train on the digits, batch 128, R1 and R2, Adam in its fused form, an exponential average; rounds in turn, the
ratio taken in each. Bound: 1.10.
"""

import argparse
import statistics
import time

import torch
from timing import machine
from torch import Tensor, nn
from torch.nn.functional import softplus

from gan import GAN, data, losses, networks, penalties

BATCH, LATENT = 128, 16


def players() -> tuple[nn.Module, nn.Module]:
    """The digits' networks."""
    hidden = (256, 256, 256)
    return networks.mlp_generator(64, latent_dim=LATENT, hidden=hidden), networks.mlp_critic(
        64, hidden=hidden
    )


def bare(x: Tensor, steps: int) -> None:
    """The loop as one would write it for this loss alone."""
    generator, critic = players()
    average = [p.detach().clone() for p in generator.parameters()]
    adam_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.99), fused=True)
    adam_c = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.99), fused=True)
    random = torch.Generator().manual_seed(0)

    def batch() -> Tensor:
        return x[torch.randint(len(x), (BATCH,), generator=random)]

    def slope(points: Tensor) -> Tensor:
        points = points.detach().requires_grad_()
        (grad,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
        return grad.square().sum(1).mean()

    for _ in range(steps):
        real = batch()
        with torch.no_grad():
            fake = generator(torch.randn(BATCH, LATENT, generator=random))
        loss = softplus(-critic(real)).mean() + softplus(critic(fake)).mean()
        loss = loss + 0.5 * slope(real) + 0.5 * slope(fake)
        adam_c.zero_grad()
        loss.backward()
        adam_c.step()
        value = softplus(-critic(generator(torch.randn(BATCH, LATENT, generator=random)))).mean()
        adam_g.zero_grad()
        value.backward(inputs=list(generator.parameters()))
        adam_g.step()
        torch._foreach_lerp_(average, [p.detach() for p in generator.parameters()], 0.001)  # pyright: ignore[reportPrivateImportUsage]


def ours(x: Tensor, steps: int) -> None:
    """The same by the library."""
    generator, critic = players()
    punished = (penalties.R1(1.0), penalties.R2(1.0))
    model = GAN(generator, critic, loss=losses.NonSaturating(), penalties=punished)
    model.fit(x, steps=steps, batch_size=BATCH, device="cpu", progress=False)


def seconds(run, x: Tensor, steps: int) -> float:
    """Wall time of a run."""
    started = time.perf_counter()
    run(x, steps)
    return time.perf_counter() - started


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = data.digits().train
    for run in (bare, ours):
        run(x, 20)
    rounds = [(seconds(bare, x, args.steps), seconds(ours, x, args.steps)) for _ in range(args.rounds)]
    ratios = sorted(mine / theirs for theirs, mine in rounds)
    per_step = [1e3 * statistics.median(column) / args.steps for column in zip(*rounds, strict=True)]
    print(f"{machine()}\n")
    print("| ms a step, bare loop | ms a step, GAN.fit | ratio: median (least, most) |\n|---|---|---|")
    print(
        f"| {per_step[0]:.2f} | {per_step[1]:.2f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f}, "
        f"{ratios[-1]:.2f}) |"
    )


if __name__ == "__main__":
    main()
