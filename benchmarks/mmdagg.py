"""Power of the aggregated MMD test on MNIST 7 × 7 beside the median bandwidth's, an experiment of Schrab et al. 2023.

    python benchmarks/mmdagg.py --data-dir DIR [--trials 200] [--n 500] [--relabellings 499]
                                [--out benchmarks/results]

P is all digits; Q1 is the odd ones, and to Q2, Q3 and Q4 come 0, 2 and 4 one after another: 28 × 28 pixels
averaged over 4 × 4, in [0, 1]. Each trial draws n of P and n of Q without replacement. The level of both tests is
5 %; the row P against P shows it.

The paper scales each pixel by its own median difference, and takes bandwidths 2^12 … 2^16 of that (aggregated), or 1
("median"): a pixel that is nearly always 0 then counts for 10⁴ of the others. One bandwidth for all pixels, as
`metrics.median_heuristic` has it, is another test.
"""

import argparse
import gzip
import math
import sys
from pathlib import Path

import numpy as np
import torch
from timing import machine
from torch import Tensor
from tqdm import tqdm

import metrics
from metrics import files
from metrics.kernels import Gaussian, ProductLaplace, aggregated_mmd_test

LEVEL = 0.05

PUBLISHED = {
    "P": (0.054, 0.0526),
    "Q1": (1.0, 0.61),
    "Q2": (0.994, 0.30),
    "Q3": (0.572, 0.144),
    "Q4": (0.612, 0.096),
}
"""paper/raw/results.csv of the authors' repository antoninschrab/mmdagg-paper: Laplace, (12, 16), uniform, wild
bootstrap, and Gaussian, median, permutation (of P: wild bootstrap). Samples of 500; 500 trials, 5000 of P."""

DIGITS = {
    "P": "0123456789",
    "Q1": "13579",
    "Q2": "013579",
    "Q3": "0123579",
    "Q4": "01234579",
}


def small_digits(folder: Path) -> tuple[Tensor, Tensor]:
    """All 70 000 digits as 7 × 7 means, [70000, 49], and their labels."""
    images, labels = [], []
    for part in ("train", "t10k"):
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
            images.append(np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 7, 4, 7, 4))
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
            labels.append(np.frombuffer(file.read(), np.uint8, offset=8))
    pixels = np.concatenate([part.mean((2, 4)) for part in images]).reshape(-1, 49) / 255
    return torch.from_numpy(pixels), torch.from_numpy(np.concatenate(labels).astype(np.int64))


def rejected(x: Tensor, y: Tensor, relabellings: int, random: torch.Generator) -> list[bool]:
    """What the four tests say."""
    median = metrics.median_heuristic(x, y)
    # The paper measures each pixel by its own median difference, at least 1e-4: most pixels of an edge are always 0.
    differences = torch.cat([x, y])
    scale = torch.stack([torch.pdist(column[:, None]).median() for column in differences.T]).clamp(min=1e-4)
    u, v = x / scale, y / scale
    tests = [
        (x, y, None),
        (x, y, (Gaussian(median),)),
        (u, v, tuple(ProductLaplace(2.0**power) for power in range(12, 17))),
        (u, v, (Gaussian(0.5**0.5),)),
    ]
    found = [
        aggregated_mmd_test(a, b, kernels=kernels, relabellings=relabellings, generator=random)
        for a, b, kernels in tests
    ]
    return [bool(test.p_value <= LEVEL) for test in found]


def main(argv: list[str] | None = None) -> int:
    """Run all trials; print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the MNIST IDX files")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--relabellings", type=int, default=499)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    pixels, labels = small_digits(args.data_dir)
    p = pixels
    lines = [
        f"Power at level 5 % over {args.trials} trials, ± its standard error: n = {args.n} of P (all digits) against",
        f"as many of Q (some digits), MNIST 7 × 7; {args.relabellings} exchanges; {machine()}.",
        "",
        "| Q | aggregated, 20 kernels | one Gaussian, median bandwidth | the paper's Laplace collection | published | "
        "one Gaussian, medians of each pixel | published |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, digits in DIGITS.items():
        q = pixels[torch.isin(labels, torch.tensor([int(d) for d in digits]))]
        found = []
        for trial in tqdm(range(args.trials), desc=name, disable=None):
            random = torch.Generator().manual_seed(trial)
            x, y = (c[torch.randperm(len(c), generator=random)[: args.n]] for c in (p, q))
            found.append(rejected(x, y, args.relabellings, random))
        shares = torch.tensor(found).double().mean(0).tolist()
        cells = [f"{s:.3f} ± {math.sqrt(s * (1 - s) / args.trials):.3f}" for s in shares]
        theirs = [f"{share:g}" for share in PUBLISHED[name]]
        row = [f"{name}: {digits}", *cells[:3], theirs[0], cells[3], theirs[1]]
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    print("\n".join(lines))
    files.write_text(args.out / "mmdagg.md", "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
