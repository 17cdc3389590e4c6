"""Power of the test behind `mmd2` in `metrics.evaluate`: kernels aggregated by scores, by ranks, or one kernel alone.

    python benchmarks/mmd_tests.py [--data-dir DIR] [--trials 200] [--permutations 199] [--out benchmarks/results]

Three tests of the same permutations: the largest score of three kernels (`metrics.evaluation.permutation`), the least
p-value of the same three against its own distribution (MMDAgg, Schrab et al. 2023), and the first kernel alone, five
bandwidths around the median distance. The level is 5 %; the first row has two clouds of one law.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from mmdagg import DIGITS, small_digits
from timing import machine
from torch import Tensor
from tqdm import tqdm

from metrics import files
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import mmd2_permuted, p_value, permuted_labels
from metrics.evaluation.shared import block_sums_of, pooled_kernels

LEVEL = 0.05
Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def normal(n: int, d: int, random: torch.Generator) -> Tensor:
    """Standard normal points."""
    return torch.randn(n, d, dtype=torch.float64, generator=random)


def grid(n: int, width: float, random: torch.Generator) -> Tensor:
    """A grid of 25 modes, 2 apart."""
    centres = torch.cartesian_prod(*[torch.arange(-4.0, 5, 2)] * 2).double()
    return centres[torch.randint(25, (n,), generator=random)] + width * normal(n, 2, random)


def without_a_mode(n: int, random: torch.Generator) -> Tensor:
    """The same without the points of one corner's mode."""
    points = grid(2 * n, 0.05, random)
    return points[(points - 4).norm(dim=1) > 1][:n]


def problems(data: Path | None) -> dict[str, Draw]:
    """What is told apart, and how its clouds are drawn."""
    found: dict[str, Draw] = {
        "one law, d = 2, n = 300": lambda g: (normal(300, 2, g), normal(300, 2, g)),
        "grid, modes of width .05 and .08, n = 500": lambda g: (grid(500, 0.05, g), grid(500, 0.08, g)),
        "grid, one mode of 25 missing, n = 500": lambda g: (grid(500, 0.05, g), without_a_mode(500, g)),
        "normal, standard deviation 1 and 1.2, d = 2, n = 300": lambda g: (
            normal(300, 2, g),
            1.2 * normal(300, 2, g),
        ),
        "normal, moved by .06 in each of 64 columns, n = 300": lambda g: (
            normal(300, 64, g),
            normal(300, 64, g) + 0.06,
        ),
    }
    if data is None:
        return found
    pixels, labels = small_digits(data)

    def digits(of: Tensor) -> Draw:
        return lambda g: tuple(c[torch.randperm(len(c), generator=g)[:300]] for c in (pixels, of))  # type: ignore[return-value]

    for name in ("Q3", "Q4"):
        kept = torch.isin(labels, torch.tensor([int(digit) for digit in DIGITS[name]]))
        found[f"MNIST 7 × 7, all digits and {DIGITS[name]}, n = 300"] = digits(pixels[kept])
    return found


def rejected(x: Tensor, y: Tensor, permutations: int, random: torch.Generator) -> list[bool]:
    """What the three tests say."""
    pair, (n, m) = Pair(x, y), (len(x), len(y))
    labels = permuted_labels(n, m, permutations, random)
    blocks = [block_sums_of(pair, kernel, labels) for kernel in pooled_kernels(pair)]
    t = torch.stack([b.xx / (n * (n - 1)) + b.yy / (m * (m - 1)) - 2 * b.xy / (n * m) for b in blocks])
    of_ranks = (t[:, :, None] <= t[:, None, :]).double().mean(2).amin(0)
    found = p_value(mmd2_permuted(pair, labels)), p_value(-of_ranks), p_value(t[0])
    return [p <= LEVEL for p in found]


def main(argv: list[str] | None = None) -> int:
    """Run all trials; print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST IDX files")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    lines = [
        f"Power at level 5 % over {args.trials} trials, ± its standard error; {args.permutations} permutations; "
        f"{machine()}.",
        "",
        "| clouds | scores of three kernels (`evaluate`) | ranks of the same (MMDAgg) | five octaves alone |",
        "|---|---|---|---|",
    ]
    for name, draw in problems(args.data_dir).items():
        found = []
        for trial in tqdm(range(args.trials), desc=name, disable=None):
            random = torch.Generator().manual_seed(trial)
            found.append(rejected(*draw(random), args.permutations, random))
        shares = torch.tensor(found).double().mean(0).tolist()
        cells = [f"{s:.3f} ± {math.sqrt(s * (1 - s) / args.trials):.3f}" for s in shares]
        lines.append(f"| {' | '.join([name, *cells])} |")
        print(lines[-1], flush=True)
    if args.out is not None:
        files.write_text(args.out / "mmd_tests.md", "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
