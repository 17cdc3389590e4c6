"""How right the Sinkhorn divergence is by default: `python benchmarks/transport_accuracy.py [--out FILE]`.

1080 problems in float32: five pairs of laws, ε from 0.005 to 1 of the mean cost, dimensions from 1 to 512, three pairs
of sizes, two draws each. The errors of the value and of the gradient for x are relative to the same solver in float64
at a tolerance of 1e-10, which the tests hold against a plain loop in the log domain. About four minutes on a core.
"""

import argparse
import itertools
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import machine
from torch import Tensor
from tqdm import tqdm

from metrics.transport import sinkhorn_divergence

SIZES = [(64, 64), (256, 256), (300, 150)]
DIMENSIONS = [1, 2, 5, 16, 64, 512]
EPS = [0.005, 0.01, 0.02, 0.05, 0.2, 1.0]
LAWS = {
    "turned": "Gaussians with standard deviations from ½ to 1½ in opposite order, half a unit apart",
    "equal": "two samples of one Gaussian",
    "near": "points of x, drawn with replacement and moved by 5 %",
    "clusters": "a Gaussian against four narrow clusters",
    "heavy": "a Gaussian over a uniform scale against one twice as wide",
}
BOUNDS = {"value": 1e-4, "gradient": 2e-3}


def clouds(law: str, n: int, m: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a pair of clouds in float32."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 1.5, d) if d > 1 else torch.ones(1)
    x, z = (scale * torch.randn(k, d, generator=generator) for k in (n, m))
    if law == "turned":
        return x, z.flip(1) + 0.5
    if law == "near":
        return x, x[torch.randint(n, (m,), generator=generator)] + 0.05 * z
    if law == "clusters":
        centre = torch.randint(0, 4, (m, 1), generator=generator).float()
        return x, 0.3 * z + 2 * (centre - 1.5) / math.sqrt(d)
    if law == "heavy":
        return x / (0.3 + torch.rand(n, 1, generator=generator)), 2 * z
    return x, z


@dataclass(frozen=True)
class Error:
    """Relative errors of one problem."""

    law: str
    eps: float
    name: str
    value: float
    gradient: float


def solved(x: Tensor, y: Tensor, **options: Any) -> tuple[float, Tensor]:
    """Value and gradient for x."""
    x = x.clone().requires_grad_()
    value = sinkhorn_divergence(x, y, **options)
    return float(value.detach()), torch.autograd.grad(value, x)[0].double()


def measure(law: str, n: int, m: int, d: int, relative: float, seed: int) -> Error:
    """Solve a problem by default, and in float64 to the end."""
    x, y = clouds(law, n, m, d, seed)
    eps = relative * float(torch.cdist(x.double(), y.double()).square().mean())
    want, force = solved(x.double(), y.double(), eps=eps, tol=1e-10, max_iterations=50_000)
    value, gradient = solved(x, y, eps=eps)
    name = f"{law}, {n} × {m} × {d}, ε {relative} of the mean cost, draw {seed}"
    wrong = float((gradient - force).norm() / force.norm())
    return Error(law, relative, name, abs(value - want) / abs(want), wrong)


def page(errors: list[Error]) -> str:
    """A table of worst errors, the bounds that were missed, and the worst problems."""
    lines = [
        f"Sinkhorn divergence at its default tolerance, float32, {len(errors)} problems; {machine()}.",
        "",
        "The worst relative error of the value and of the gradient for x, over dimensions, sizes and draws:",
        "",
        "| ε / mean cost | " + " | ".join(LAWS) + " |",
        "|---" * (len(LAWS) + 1) + "|",
    ]
    for eps in EPS:
        cells = []
        for law in LAWS:
            some = [e for e in errors if (e.law, e.eps) == (law, eps)]
            cells.append(
                f"{max(e.value for e in some):.0e}, {max(e.gradient for e in some):.0e}" if some else ""
            )
        lines.append(f"| {eps} | " + " | ".join(cells) + " |")
    lines.append("")
    for what, bound in BOUNDS.items():
        ordered = sorted(errors, key=lambda e: getattr(e, what), reverse=True)
        over = sum(not getattr(e, what) <= bound for e in errors)
        worst = "; ".join(f"{getattr(e, what):.1e} ({e.name})" for e in ordered[:3])
        median = getattr(ordered[len(ordered) // 2], what)
        lines.append(
            f"- {what}: {over} of {len(errors)} above {bound:.0e}, median {median:.0e}; worst {worst}."
        )
    lines += ["", *(f"- {law}: {meaning}" for law, meaning in LAWS.items())]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run, print and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="one problem in so many")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # a solution that is short of its goal is in the table
    problems = list(itertools.product(LAWS, SIZES, DIMENSIONS, EPS, range(2)))[:: args.every]
    errors = [
        measure(law, n, m, d, eps, seed)
        for law, (n, m), d, eps, seed in tqdm(problems, desc="problems", disable=None)
    ]
    told = page(errors)
    print(told)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(told)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
